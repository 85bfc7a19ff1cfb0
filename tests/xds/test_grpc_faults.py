from structlog.testing import capture_logs

from isthmus.xds.grpc_faults import Faults


def test_the_first_fault_of_a_kind_is_told_and_the_others_are_counted() -> None:
    faults = Faults()
    with capture_logs() as logs:
        for number in range(10_000):
            faults.note("PROTOCOL_ERROR", f"10.0.0.1:{number}", "no HTTP/2", now=number * 0.001)
        faults.note("FLOW_CONTROL_ERROR", "10.0.0.2:1", "too wide a window", now=10.0)
        faults.tell(59.0)
        assert [(one["event"], one["code"]) for one in logs] == [
            ("connection ended", "PROTOCOL_ERROR"),
            ("connection ended", "FLOW_CONTROL_ERROR"),
        ]
        assert (logs[0]["peer"], logs[0]["reason"]) == ("10.0.0.1:0", "no HTTP/2")
        faults.tell(61.0)
        assert (logs[2]["connections"], logs[2]["latest"]) == (9_999, "10.0.0.1:9999")
        faults.note("PROTOCOL_ERROR", "10.0.0.1:5", "no HTTP/2", now=62.0)
        faults.tell(120.0)
        assert len(logs) == 3
        faults.tell(122.0)
        assert logs[3]["connections"] == 1
        faults.tell(190.0)
        faults.note("PROTOCOL_ERROR", "10.0.0.1:6", "no HTTP/2", now=200.0)
        assert logs[4]["event"] == "connection ended", "after a quiet while it is news again"
        assert len(logs) == 5
    assert faults.counts == {"PROTOCOL_ERROR": 10_002, "FLOW_CONTROL_ERROR": 1}
