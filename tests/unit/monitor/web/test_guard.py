"""Who gets in: the token once, a cookie then, the page's own name and origin always."""

from __future__ import annotations

import pytest


async def test_the_token_is_exchanged_for_a_cookie_that_scripts_do_not_see(page):
    assert (await page.ask("/api/check")).status == 401
    answer = await page.ask("/session", "POST", page.token)
    assert answer.status == 204
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"oddwire_monitor_{page.port}=")
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert page.token not in cookie
    page.cookie = cookie.partition(";")[0]
    assert (await page.ask("/api/check")).status == 200


@pytest.mark.parametrize("token", ["", "wrong", "x" * 100_000, "\x00", "é"])
async def test_a_wrong_token_opens_nothing(page, token):
    answer = await page.ask("/session", "POST", token.encode())
    assert answer.status == 401
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("path", ["/api/check", "/api/stream", "/api/messages/1", "/api/recording", "/api/none"])
async def test_nothing_is_told_without_the_cookie(page, path):
    for cookie in ("", f"oddwire_monitor_{page.port}=wrong", f"oddwire_monitor_{page.port}={page.token}", "\x01=;;"):
        page.cookie = cookie
        answer = await page.ask(path)
        assert answer.status == 401
        assert "oddwire monitor" in answer.text


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example:{port}", ""])
async def test_another_host_is_refused_as_dns_rebinding_would_have(page, host):
    await page.enter()
    for path in ("/", "/session", "/api/check"):
        answer = await page.ask(path, host_=host.format(port=page.port))
        assert answer.status == 421, path
        assert b"<" not in answer.body


async def test_the_page_may_be_called_localhost(page):
    assert (await page.ask("/", host_=f"localhost:{page.port}")).status == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1", "https://127.0.0.1:{port}"])
async def test_pages_of_other_origins_are_refused(page, origin):
    await page.enter()
    origin = origin.format(port=page.port)
    assert (await page.ask("/session", "POST", page.token, origin=origin)).status == 403
    assert (await page.ask("/api/check", origin=origin)).status == 403
    assert (await page.ask("/api/check", sec_fetch_site="cross-site")).status == 403
    assert (await page.ask("/api/check", sec_fetch_site="same-site")).status == 403


async def test_the_page_itself_and_links_to_it_are_let_through(page):
    await page.enter()
    own = {"origin": f"http://127.0.0.1:{page.port}", "sec_fetch_site": "same-origin"}
    assert (await page.ask("/api/check", **own)).status == 200
    assert (await page.ask("/", sec_fetch_site="cross-site", sec_fetch_mode="navigate")).status == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "TRACE"])
async def test_other_methods_are_refused(page, method):
    assert (await page.ask("/", method)).status == 405
    assert (await page.ask("/session")).status == 405


@pytest.mark.parametrize("path", ["/", "/monitor.js", "/api/check", "/session", "/none"])
async def test_every_answer_forbids_what_the_page_does_not_need(page, path):
    headers = (await page.ask(path)).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"
    assert "access-control-allow-origin" not in headers
