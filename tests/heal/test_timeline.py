"""Is the picture of an incident well formed, whatever its texts, and does it say every cause and act?"""

from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from veilig.heal.incident import Done, Incident, Turn
from veilig.heal.timeline import html, svg

texts = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=30)
times = st.floats(0, 1e6, allow_nan=False)


def words(picture: str) -> str:
    return " ".join(ET.fromstring(picture).itertext())  # our own output


def test_it_says_every_cause_and_act():
    incident = Incident(
        "worker-1-1", "worker-1", 10.0, 14.0,
        course=(Turn(10.0, "crash"), Turn(12.0, "port_conflict", "port 80", "pid 7 listens")),
        acts=(Done(11.0, "service.restart", "worker-1", "d", "failed", "it ended again"),),
    )  # fmt: skip
    said = words(svg(incident))
    for word in (
        "worker-1: port conflict",
        "crash",
        "service.restart worker-1: failed",
        "it ended again",
        "+4.0 s",
    ):
        assert word in said
    assert "<script" not in html(incident)


@given(
    texts, texts, st.lists(st.tuples(times, texts), max_size=5), st.lists(st.tuples(times, texts), max_size=5)
)
def test_any_text_makes_a_well_formed_picture_and_no_markup(
    service: str, detail: str, course: list[tuple[float, str]], acts: list[tuple[float, str]]
):
    incident = Incident(
        "i", service, 5.0,
        course=tuple(Turn(t, text, text, detail) for t, text in course),
        acts=tuple(Done(t, text, text, "d", "done", detail) for t, text in acts),
    )  # fmt: skip
    assert ET.fromstring(svg(incident)).tag.endswith("svg")
    page = html(Incident("i", "<script>alert(1)</script>", 5.0))
    assert "<script" not in page
