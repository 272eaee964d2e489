"""How many attacks: few in the tests, many in `make attack`, any number from any seed by
`make attack PART=networks COUNT=50 SEED=7`."""

import os

import pytest


class Attack:
    seed = int(os.environ.get("L2FEAT_ATTACK_SEED") or 0)

    @staticmethod
    def count(quick: int, long: int) -> int:
        asked = os.environ.get("L2FEAT_ATTACK_COUNT")
        if asked:
            return int(asked)
        return long if os.environ.get("L2FEAT_ATTACK") else quick


@pytest.fixture(scope="session")
def attack():
    return Attack
