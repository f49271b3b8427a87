"""A cluster's workers at a terminal, driven by textual's Pilot."""

from __future__ import annotations

from tests.support.waiting import until
from textual.widgets import DataTable, Static

from oddwire.errors import TransportError
from oddwire.monitor.tables import Table
from oddwire.monitor.tui.workers import WorkersApp

WORKERS = Table("", ("worker", "pid"), [("w1", "7"), ("w[bold]2", "8")])
NODE = Table("node 02ab", ("partition", "worker"), [("0", "w1"), ("1", "nobody")], frozenset([1]))


class Cluster:
    def __init__(self):
        self.tables = [WORKERS, NODE]
        self.line = "all is well"
        self.error = None

    async def read(self):
        if self.error is not None:
            raise self.error
        return self.tables, self.line


def cells(app, number):
    found = app.query(f"#table-{number}")
    table = found.first(DataTable) if found else None
    return [] if table is None else [[cell.plain for cell in table.get_row_at(row)] for row in range(table.row_count)]


def bottom(app):
    return str(app.query_one("#bottom", Static).render())


async def test_tables_are_shown_and_shown_again_as_they_change():
    cluster = Cluster()
    app = WorkersApp("a cluster", cluster.read, every=0.01)
    async with app.run_test() as pilot:
        await until(lambda: cells(app, 1) == [["0", "w1"], ["1", "nobody"]])
        assert cells(app, 0) == [["w1", "7"], ["w[bold]2", "8"]]  # no markup
        await until(lambda: bottom(app) == "all is well")
        table = app.query_one("#table-1", DataTable)
        assert "red" in str(table.get_row_at(1)[1].style)
        assert "red" not in str(table.get_row_at(0)[1].style)

        cluster.tables = [
            WORKERS,
            NODE._replace(rows=[("0", "w1")], wrong=frozenset()),
            NODE._replace(title="node 03cd"),
        ]
        await until(lambda: cells(app, 2) == [["0", "w1"], ["1", "nobody"]])
        assert cells(app, 1) == [["0", "w1"]]
        await pilot.press("q")
    assert app.return_code == 0


async def test_a_broker_that_is_gone_is_told_and_what_was_known_stays():
    cluster = Cluster()
    app = WorkersApp("a cluster", cluster.read, every=0.01)
    async with app.run_test():
        await until(lambda: cells(app, 1))
        cluster.error = TransportError("no broker answers")
        await until(lambda: bottom(app) == "no broker answers")
        assert app.query_one("#bottom").has_class("wrong")
        assert cells(app, 0)

        cluster.error = None
        await until(lambda: bottom(app) == "all is well")
        assert not app.query_one("#bottom").has_class("wrong")
