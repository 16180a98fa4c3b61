from wsc_ray.describe import describe


def test_a_line_a_value_and_a_line_a_note():
    text = describe({"slides": {"train": 1200}, "files": [], "seconds": 0.25, "notes": ["one, two", "three"]})
    assert text.splitlines() == [
        "  slides.train  1,200",
        "  seconds       0.25",
        "  note          one, two",
        "  note          three",
    ]
