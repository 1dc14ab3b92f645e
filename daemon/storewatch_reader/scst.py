"""Which attributes of SCST's tree may be read, below /sys/kernel/scst_tgt, by what a read costs.

Nothing of an attribute that holds a secret is here: `IncomingUser` and `OutgoingUser` have CHAP
passwords in plain text. Nor is what the iSCSI daemon answers for (a driver's `enabled`, a target's
iSCSI parameters): while it is stopped, such a read takes half a minute.
"""

_SESSION = "targets/*/*/sessions/*"
_DIRECTIONS = ("read", "write", "bidi")

STATE = ("version", "targets/")
"""Whether SCST is loaded at all."""

MODULES = ("*scst*/", "qla2x00tgt/", "ib_srpt/")
"""The modules of SCST, below /sys/module."""

CHEAP = (
    *("version", "suspend", "threads", "poll_us", "last_sysfs_mgmt_res", "measure_latency"),
    *("targets/*/", "targets/*/open_state", "targets/*/*/", "targets/*/*/enabled"),
    *("targets/*/*/rel_tgt_id", "targets/*/*/hw_target", "targets/*/*/comment"),
    *("targets/*/*/black_hole", "targets/*/*/forwarding"),
    *("targets/*/*/forward_src", "targets/*/*/forward_dst"),
    *("targets/*/*/luns/*/device@", "targets/*/*/luns/*/read_only"),
    *("targets/*/*/ini_groups/*/", "targets/*/*/ini_groups/*/black_hole"),
    "targets/*/*/ini_groups/*/luns/*/device@",
    "targets/*/*/ini_groups/*/luns/*/read_only",
    *(f"{_SESSION}/", f"{_SESSION}/initiator_name", f"{_SESSION}/sid", f"{_SESSION}/luns@"),
    *(f"{_SESSION}/commands", f"{_SESSION}/reinstating"),
    *(f"{_SESSION}/{direction}_cmd_count" for direction in (*_DIRECTIONS, "none", "unknown")),
    *(f"{_SESSION}/{direction}_io_count_kb" for direction in _DIRECTIONS),
    *(f"{_SESSION}/{direction}_unaligned_cmd_count" for direction in _DIRECTIONS),
    f"{_SESSION}/lun*/active_commands",
    # A connection's directory is its initiator's address, of version 4 or 6.
    *(f"{_SESSION}/*.*/{what}" for what in ("state", "transport", "target_ip")),
    *(f"{_SESSION}/*:*/{what}" for what in ("state", "transport", "target_ip")),
    *("devices/*/", "devices/*/handler@", "devices/*/type", "devices/*/size"),
    *("devices/*/active", "devices/*/block", "handlers/*/"),
    *("device_groups/*/", "device_groups/*/target_groups/*/state"),
    *("device_groups/*/target_groups/*/group_id", "device_groups/*/target_groups/*/preferred"),
)
"""What answers at once and is asked at every interval."""

STEADY = (
    *("targets/*/", "targets/*/*/ini_groups/*/initiators/*"),
    *(f"{_SESSION}/initiator_name", f"{_SESSION}/sid"),
    *(f"{_SESSION}/HeaderDigest", f"{_SESSION}/DataDigest", f"{_SESSION}/InitialR2T"),
    *(f"{_SESSION}/ImmediateData", f"{_SESSION}/MaxOutstandingR2T"),
    *(f"{_SESSION}/MaxRecvDataSegmentLength", f"{_SESSION}/MaxXmitDataSegmentLength"),
    *(f"{_SESSION}/FirstBurstLength", f"{_SESSION}/MaxBurstLength"),
    *("devices/*/handler@", "devices/*/type", "devices/*/t10_dev_id", "devices/*/usn"),
    *("devices/*/read_only", "devices/*/write_through", "devices/*/nv_cache"),
    *("devices/*/thin_provisioned", "devices/*/o_direct", "devices/*/pr_state"),
    *("handlers/*/type", "sgv/*/stats", "sgv/global_stats"),
)
"""What answers at once and hardly ever changes: asked every few minutes."""

LATENCY = (
    *(f"{_SESSION}/initiator_name", f"{_SESSION}/sid"),
    *(f"{_SESSION}/latency/{kind}{512 << shift}" for kind in "bnrw" for shift in range(11)),
)
"""How long commands took, by kind and size: asked only while the operator has it measured."""

QUEUED = (*("devices/*/filename", f"{_SESSION}/dif_checks_failed", "trace_cmds"),)
"""What SCST answers from a work queue, with a new kernel thread for each read: asked every few
minutes, apart. While a management operation is stuck behind a hung command, it may not answer.

What else is queued tells nothing that these do not: a target's own counters are the sums of its
live sessions' and fall at each logout, and a session's `active_commands` is the sum of its LUNs'.
"""
