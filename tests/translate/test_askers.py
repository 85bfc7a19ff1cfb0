from isthmus.translate.askers import Askers


def test_those_who_asked_are_named_once() -> None:
    askers = Askers()
    askers.note("pod", "a")
    askers.note("pod", "b")
    askers.note("other", "c")
    assert askers.take(["pod", "nobody"]) == {"a", "b"}
    assert askers.take(["pod"]) == set()
    assert askers.take(["other"]) == {"c"}


def test_subjects_without_end_push_out_the_oldest() -> None:
    askers = Askers(most=2)
    for subject in ("first", "second", "third"):
        askers.note(subject, subject)
    assert askers.take(["first", "second", "third"]) == {"second", "third"}
