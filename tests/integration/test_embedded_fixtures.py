"""The fixtures themselves: fresh databases and brokers."""

import psycopg
import pytest
import redis


@pytest.mark.parametrize("time", [1, 2, 3])
def test_each_test_has_a_database_of_its_own(database_url: str, time: int) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("CREATE TABLE only_mine (n int)")


@pytest.mark.parametrize("time", [1, 2])
def test_each_test_has_an_empty_broker(broker_url: str, time: int) -> None:
    with redis.Redis.from_url(broker_url) as client:
        assert client.keys() == []
        client.set("mine", "1")
