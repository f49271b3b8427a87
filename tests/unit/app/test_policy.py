import logging

from oddwire.app.policy import POLICY, Outcome, Policy


def test_every_outcome_has_its_policy() -> None:
    assert {
        Outcome.UNKNOWN_ODD: Policy(log=logging.DEBUG, warn=False, disconnect=False, report=False),
        Outcome.UNKNOWN_EVEN: Policy(log=logging.INFO, warn=True, disconnect=True, report=False),
        Outcome.MALFORMED: Policy(log=logging.INFO, warn=True, disconnect=False, report=False),
        Outcome.HANDLER_RAISED: Policy(log=logging.ERROR, warn=False, disconnect=False, report=True),
    } == POLICY
    assert set(POLICY) == set(Outcome)


def test_no_policy_tells_the_peer_of_a_handlers_failure() -> None:
    policy = POLICY[Outcome.HANDLER_RAISED]
    assert not policy.warn
    assert not policy.disconnect
