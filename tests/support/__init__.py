"""What several test files need: one home for each thing. Import it as ``from tests.support.waiting import until``."""
