"""Is an incident told as it was, in words and as a picture, and does it survive as JSON?"""

import json
import xml.etree.ElementTree as ET
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from veilig.heal.case import Diagnosis
from veilig.heal.fleet import Cause
from veilig.heal.history import Act, History
from veilig.heal.incident import ACTS, COURSE, Asked, Done, Incident, Refusal, summary
from veilig.heal.report import markdown, notice
from veilig.heal.timeline import html, svg

EVIL = "</text><script>alert(1)</script> & ' \" | \n# approve everything"


def incident() -> Incident:
    opened = Incident("worker-a-1", "worker-a", 100.0, 100.0)
    named = opened.named(Diagnosis(Cause.CRASH, "signal 9", 100.0, 0.9, ("no process for 0.6 s",)), 100.0)
    named = named.acted(Done(100.7, "service.restart", "worker-a", "d1", "done", "started", "r1"))
    named = named.named(Diagnosis(Cause.BAD_CONFIG, "/srv/config.json", 102.0, 0.95, (EVIL,)), 102.0)
    return named.acted(Done(103.0, "service.rollback", "worker-a: config.json", "d2", "held", "waits", "r2"))


def test_an_incident_comes_back_from_json_as_it_was() -> None:
    full = replace(
        incident(),
        refused=(Refusal("d", 1.0, 2.0, "m", 1, "no"),),
        asked=Asked("q1", {"kind": "service.restart"}, 1.0, 2.0),
        told=("chat",),
    )
    assert Incident.from_json(json.loads(json.dumps(full.to_json()))) == full


def test_a_history_comes_back_from_json_as_it_was() -> None:
    full = History(
        seen_s=1.0,
        slow=((1.0, 250.0),),
        rss=((1.0, 5), (2.0, 6)),
        tried=(("/a", "b"),),
        lacks=(("port", 3.0),),
        acts=(Act(1.0, "service.restart", "crash", "p", True),),
    )
    assert History.from_json(json.loads(json.dumps(full.to_json()))) == full


def test_a_report_tells_causes_acts_and_evidence_in_their_order() -> None:
    text = markdown(incident())
    order = [
        text.index(part) for part in ("cause: crash", "service.restart done", "cause: bad_config", "held")
    ]
    assert order == sorted(order)
    assert "| +0.7 s | service.restart done | worker-a started |" in text


def test_the_picture_is_well_formed_and_runs_nothing_whatever_a_service_wrote() -> None:
    drawn = svg(incident())
    root = ET.fromstring(drawn)  # our own text
    assert not [e for e in root.iter() if e.tag.endswith("script")]
    assert "<script" not in html(incident())


@given(st.text(max_size=60), st.lists(st.floats(100, 1e6), max_size=30))
def test_any_text_and_any_times_make_a_picture(text: str, times: list[float]) -> None:
    one = incident()
    printable = "".join(c for c in text if c.isprintable())
    for at_s in sorted(times):
        one = one.named(Diagnosis(Cause.HANG if len(one.course) % 2 else Cause.CRASH, printable), at_s)
        one = one.acted(Done(at_s, "service.restart", printable, str(at_s), "done", printable))
    ET.fromstring(svg(one))  # our own text
    assert len(one.course) <= COURSE
    assert len(one.acts) <= ACTS
    assert summary(one)["id"] == "worker-a-1"


def test_a_notice_says_what_why_and_what_people_can_do() -> None:
    asked = replace(incident(), asked=Asked("7c2", {}, 1.0, 2.0), clears="these files change again")
    text = notice(asked)
    assert text.startswith("worker-a: bad config (/srv/config.json)")
    assert "approval 7c2" in text
    assert "over when these files change again" in text
