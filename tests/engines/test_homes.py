"""Where a problem is at home, on exact numbers."""

from cord_distill.engines.homes import Homes


def test_the_first_request_goes_where_the_fewest_problems_are_and_the_others_follow_it():
    """Fails the version that counts requests: the third problem would go where fewer were asked."""
    homes = Homes(2)
    assert [homes.of(name) for name in "aaaab"] == [0, 0, 0, 0, 1]
    assert [homes.of(name) for name in "caabc"] == [0, 0, 0, 1, 0]


def test_drivers_begin_at_different_replicas():
    """Fails the version in which every driver's first problems go to the first replicas and the others stand idle."""
    homes = Homes(4, first=2)
    assert [homes.of(name) for name in "abcdef"] == [2, 3, 0, 1, 2, 3]


def test_a_problem_that_is_over_makes_room_for_the_next():
    homes = Homes(3)
    assert [homes.of(name) for name in "abc"] == [0, 1, 2]
    homes.leave("b")
    homes.leave("never asked")
    assert homes.of("d") == 1 and homes._problems == [1, 1, 1]


def test_a_guest_stays_at_one_place_and_goes_home_when_home_is_back():
    """Fails the version that takes the least full one at each request: a guest's prefix would be cached nowhere."""
    homes = Homes(3)
    assert [homes.of(name) for name in "abcd"] == [0, 1, 2, 0]
    homes.down(0)
    assert [homes.of(name) for name in "adada"] == [1, 2, 1, 2, 1]
    assert homes._problems == [2, 2, 2]
    homes.up(0)
    assert homes.of("a") == 0 and homes._problems == [2, 1, 2]


def test_a_guest_moves_on_when_its_host_is_away_too():
    homes = Homes(3)
    homes.of("a")
    homes.down(0)
    assert homes.of("a") == 1
    homes.down(1)
    assert homes.of("a") == 2
    homes.down(2)
    assert homes.of("a") == 0 and not homes.any_up()
    homes.up(1)
    assert homes.of("a") == 1 and homes.any_up()


def test_one_that_lost_its_cache_keeps_none_of_its_problems():
    """Fails the version that brings problems back to where nothing of theirs is cached any more."""
    homes = Homes(2)
    assert [homes.of(name) for name in "abc"] == [0, 1, 0]
    homes.down(0, forget=True)
    assert [homes.of(name) for name in "ac"] == [1, 1]
    homes.up(0)
    assert [homes.of(name) for name in "acd"] == [1, 1, 0]


def test_a_replica_that_comes_later_takes_the_next_problems():
    homes = Homes()
    assert not homes.any_up()
    assert homes.add() == 0 and [homes.of(name) for name in "abc"] == [0, 0, 0]
    assert homes.add() == 1 and [homes.of(name) for name in "defg"] == [1, 1, 1, 0]


def test_a_newcomer_may_look_at_one_that_is_away_when_its_time_has_come():
    homes = Homes(2)
    homes.down(0)
    assert homes.home("a") == 1
    assert homes.home("b", due={0}) == 0 and homes.of("b") == 1


def test_nobody_up_is_no_error():
    homes = Homes(2)
    homes.down(0)
    homes.down(1)
    assert [homes.of(name) for name in "ab"] == [0, 1]


def test_equal_ones_take_turns():
    homes, found = Homes(3), []
    for name in "abcdef":
        found.append(homes.of(name))
        homes.leave(name)
    assert found == [0, 1, 2, 0, 1, 2]
