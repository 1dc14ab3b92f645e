"""Fibre Channel ports: from sysfs to rows."""

import asyncio
import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.fix_fibrechannel import FIRST, SECOND, STATISTICS, TREE, Machine
from probes.fix_probes import values
from storewatchd.core.frames import Frame, Scope
from storewatchd.errors import ProbeAbsent, ProbeFailed, ReadRefused
from storewatchd.probes.fibrechannel import (
    AGAIN_AFTER_S,
    EXPECTED_FOR_S,
    FibreChannelProbe,
    parse_ports,
    parse_statistics,
)


@pytest.fixture
def machine() -> Machine:
    return Machine()


def states(frame: Frame) -> dict[str, str]:
    """Return the state that each port is in."""
    found = values(frame, "fc_host_port_state")
    return {port: state for (port, state), is_so in found.items() if is_so}


def test_ports_are_told_by_their_world_wide_names(machine: Machine) -> None:
    frame = machine.look()
    assert states(frame) == {FIRST: "online", SECOND: "linkdown"}
    assert values(frame, "fc_host_info") == {(FIRST, "host3"): 1.0, (SECOND, "host4"): 1.0}
    assert values(frame, "fc_host_speed_bits_per_second") == {(FIRST,): 16e9}
    assert values(frame, "fc_remote_ports") == {
        (FIRST, "online"): 2.0,
        (FIRST, "not_present"): 1.0,
        (SECOND, "online"): 0.0,
    }


def test_a_port_is_told_as_node_exporter_does(machine: Machine) -> None:
    told = values(machine.look(), "node_fibrechannel_info")
    assert set(told) == {
        (
            *("host3", "16 Gbit", "Online", "NPort (fabric via point-to-point)", "010300"),
            *("21000024ff7e3c01", "1000c4f57c6a0b11", "QLE2692 FW:v9.08.02 DVR:v10.02.07"),
            *("Class 3", "4 Gbit, 8 Gbit, 16 Gbit", "45"),
        ),
        ("host4", "unknown", "Linkdown", "", "", "21000024ff7e3c02", *[""] * 5),
    }


def test_a_port_without_a_name_of_its_own_is_told_by_the_kernels(machine: Machine) -> None:
    for name in (b"0x0\n", b"0xffffffffffffffff\n", b"0x21000024ff7e3c02", b"", -errno.EIO):
        machine = Machine()
        machine.be(port_name=name)
        assert states(machine.look()) == {"host3": "online", SECOND: "linkdown"}


def test_two_ports_that_claim_one_name_are_two(machine: Machine) -> None:
    machine.be(port_name=b"0x21000024ff7e3c02\n")
    assert states(machine.look()) == {SECOND: "online", "host4": "linkdown"}


def test_a_port_whose_state_is_a_new_word_is_told_by_it(machine: Machine) -> None:
    machine.be(port_state=b"On Holiday\n")
    assert states(machine.look())[FIRST] == "on_holiday"


def test_what_was_cut_off_is_not_known(machine: Machine) -> None:
    machine.be(port_state=b"Onl", speed=b"16 Gbit")
    frame = machine.look()
    assert states(frame) == {SECOND: "linkdown"}
    assert values(frame, "fc_host_speed_bits_per_second") == {}


# Which ports are missed.


def expected(frame: Frame) -> dict[str, float]:
    return {port: value for (port,), value in values(frame, "fc_host_port_expected").items()}


def test_a_port_is_expected_that_was_online(machine: Machine) -> None:
    assert expected(machine.look()) == {FIRST: 1.0, SECOND: 0.0}
    machine.be(port_state=b"Linkdown\n")
    assert expected(machine.look()) == {FIRST: 1.0, SECOND: 0.0}
    assert expected(machine.look(EXPECTED_FOR_S))[FIRST] == 0.0


def test_a_port_that_the_kernel_does_not_know_any_more_is_gone(machine: Machine) -> None:
    machine.look()
    machine.readings["sys.fc", ""] = {}
    assert states(machine.look()) == {FIRST: "gone"}
    machine.readings["sys.fc", ""] = dict(TREE)
    assert states(machine.look()) == {FIRST: "online", SECOND: "linkdown"}


def test_it_is_missed_after_a_restart_too(machine: Machine) -> None:
    machine.look()
    kept = machine.probe.to_plain()
    machine.probe = FibreChannelProbe()
    machine.probe.restore(kept)
    machine.readings["sys.fc", ""] = {}
    assert states(machine.look()) == {FIRST: "gone"}


@pytest.mark.parametrize("kept", [None, [], {"a": "b"}, {1: 2.0}, {"a": None}])
def test_of_a_memory_that_is_none_nothing_is_believed(machine: Machine, kept: object) -> None:
    machine.probe.restore(kept)
    machine.readings["sys.fc", ""] = {}
    with pytest.raises(ProbeAbsent, match="no Fibre Channel port"):
        machine.look()


def test_what_may_not_be_read_is_no_absence(machine: Machine) -> None:
    machine.be(port_state=-errno.EACCES)
    with pytest.raises(ReadRefused, match="port_state: Permission denied"):
        machine.look()


def test_a_port_whose_state_could_be_read_and_cannot_be_now_is_not_known(machine: Machine) -> None:
    machine.look()
    machine.be(port_state=-errno.EIO)
    with pytest.raises(ReadRefused, match="port_state: Input/output error"):
        machine.look()


def test_a_speed_that_cannot_be_read_is_not_known_and_blinds_nothing(machine: Machine) -> None:
    machine.look()
    machine.be(speed=-errno.EIO, fabric_name=-errno.EACCES)
    frame = machine.look()
    assert states(frame) == {FIRST: "online", SECOND: "linkdown"}
    assert values(frame, "fc_host_speed_bits_per_second") == {}


def test_ports_of_others_may_come_and_go(machine: Machine) -> None:
    machine.look()
    machine.readings["sys.fc", ""]["fc_remote_ports/rport-3:0-0/port_state"] = -errno.EIO
    assert values(machine.look(), "fc_remote_ports")[FIRST, "online"] == 1.0


# Statistics.


def test_the_statistics_of_a_port_are_told_under_both_names(machine: Machine) -> None:
    frame = machine.count()
    told = {name: values(frame, name) for name in frame.rows}
    by_kernel = {
        name.removeprefix("node_fibrechannel_"): found["host3",]
        for name, found in told.items()
        if name.startswith("node_") and found
    }
    assert by_kernel == {
        "error_frames_total": 0,
        "invalid_crc_total": 31,
        "invalid_tx_words_total": 42,
        "link_failure_total": 3,
        "loss_of_signal_total": 2,
        "loss_of_sync_total": 4,
        "nos_total": 0,
        "rx_frames_total": 305_419_896,
        "rx_words_total": 4_294_967_296,
        "seconds_since_last_reset_total": 3600,
        "tx_frames_total": 16,
        "tx_words_total": 64,
    }
    assert told["fc_host_invalid_crc_total"] == {(FIRST,): 31}
    assert told["fc_host_link_failure_total"] == {(FIRST,): 3}
    assert told["fc_host_loss_of_sync_total"] == {(FIRST,): 4}
    assert told["fc_host_loss_of_signal_total"] == {(FIRST,): 2}
    assert told["fc_host_fcp_packet_aborts_total"] == {}


def test_an_adapter_is_asked_once_a_minute(machine: Machine) -> None:
    machine.count()
    machine.count(AGAIN_AFTER_S - 1)
    asked = machine.asked_for.count(("sys.fc.statistics", "host3"))
    machine.count(1)
    assert (asked, machine.asked_for.count(("sys.fc.statistics", "host3"))) == (1, 2)


def test_an_adapter_that_fell_silent_is_not_known(machine: Machine) -> None:
    machine.count()
    silent = dict.fromkeys(STATISTICS, -errno.ENOENT)
    machine.readings["sys.fc.statistics", "host3"] = silent
    with pytest.raises(ReadRefused):
        machine.count(AGAIN_AFTER_S)


def test_a_port_without_statistics_has_none(machine: Machine) -> None:
    machine.readings["sys.fc.statistics", "host3"] = {}
    with pytest.raises(ProbeAbsent, match="host3 tells no statistics"):
        machine.count()


def test_a_scope_is_a_port(machine: Machine) -> None:
    scopes = asyncio.run(machine.statistics.discover(machine))
    assert [dict(scope.labels)["fc_host"] for scope in scopes] == ["host3", "host4"]
    assert asyncio.run(machine.probe.discover(machine)) == (Scope("fibrechannel"),)


def test_what_cannot_be_read_is_failed(machine: Machine) -> None:
    del machine.readings["sys.fc.statistics", "host3"]
    with pytest.raises(ProbeFailed, match="nothing is set"):
        machine.count()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"0x1f", id="cut off"),
        pytest.param(b"31\n", id="no hexadecimal"),
        pytest.param(b"0x\n", id="no digits"),
        pytest.param(b"0x-1\n", id="below nothing"),
        pytest.param(b"0x1ffffffffffffffff\n", id="too large"),
        pytest.param(b"", id="empty"),
        pytest.param(-errno.EIO, id="error"),
    ],
)
def test_a_statistic_that_is_none_is_left_out(content: bytes | int) -> None:
    assert parse_statistics({"statistics/nos_count": content}) == {}


CONTENT = st.binary(max_size=30) | st.integers(-133, -1)


@given(
    changes=st.dictionaries(
        st.sampled_from(sorted(TREE)) | st.text("fc_host/rpt-0123:\udcff", max_size=24),
        CONTENT,
        max_size=8,
    )
)
def test_garbled_ports_harm_nothing(changes: dict[str, bytes | int]) -> None:
    ports = parse_ports({**TREE, **changes})
    names = [one.port for one in ports]
    assert len(names) == len(set(names))


@given(path=st.sampled_from(sorted(TREE)), cut=st.integers(0, 60))
def test_a_port_is_not_taken_for_another_where_something_is_cut_off(path: str, cut: int) -> None:
    content = TREE[path]
    assert isinstance(content, bytes)
    for whole, told in zip(
        parse_ports(TREE), parse_ports({**TREE, path: content[:cut]}), strict=True
    ):
        assert told.state in ("", whole.state)
        assert told.port in (whole.port, whole.fc_host)
        assert told.speed_bits in (None, whole.speed_bits)


@given(st.dictionaries(st.sampled_from(sorted(STATISTICS)), CONTENT, max_size=6))
def test_garbled_statistics_are_no_numbers_below_nothing(changes: dict[str, bytes | int]) -> None:
    for number in parse_statistics({**STATISTICS, **changes}).values():
        assert 0 <= number < (1 << 64) - 1
