import numpy as np

from wsc_ray.manifest.problems import Codes
from wsc_ray.manifest.write import divide, order_rows, pack


def codes(values: list[str]) -> Codes:
    names = sorted(set(values), reverse=True)  # not in order: it must not matter
    return Codes(np.array([names.index(value) for value in values]), names)


def test_order_is_by_split_label_and_shuffled_slide():
    slide = [f"s{number % 20:02d}" for number in range(100)]
    split = ["train" if int(name[1:]) < 12 else "test" for name in slide]
    label = ["negative" if int(name[1:]) % 2 else "positive" for name in slide]
    order = order_rows(codes(split), codes(label), codes(slide), seed=0)
    assert sorted(order) == list(range(100))
    cells = [(split[row], label[row]) for row in order]
    assert cells == sorted(cells)
    slides = [slide[row] for row in order]
    runs = [name for place, name in enumerate(slides) if place == 0 or slides[place - 1] != name]
    assert len(runs) == 20  # a slide's rows are neighbours
    assert runs != sorted(runs)
    for name in runs:
        rows = [row for row in order if slide[row] == name]
        assert rows == sorted(rows)  # the source's order inside a slide


def test_order_depends_on_the_seed_and_not_on_the_other_slides():
    def order(names, seed):
        same = codes(["a"] * len(names))
        return [names[row] for row in order_rows(same, same, codes(names), seed)]

    names = [f"s{number}" for number in range(30)]
    assert order(names, 0) == order(names[::-1], 0)
    assert order(names, 0) != order(names, 1)
    assert [name for name in order(names, 0) if name in names[:10]] == order(names[:10], 0)
    assert order(["s1", "s2", "s3", "s4"], 0) == ["s3", "s4", "s1", "s2"]  # the same for ever


def test_row_groups_hold_one_split_and_label():
    split, label = np.array([0] * 7 + [1] * 5), np.array([0] * 4 + [1] * 5 + [0] * 3)
    assert divide(split, label, 3) == [(0, 3), (3, 4), (4, 7), (7, 9), (9, 12)]
    assert divide(split[:0], label[:0], 3) == []


def test_files_hold_whole_row_groups():
    groups = [(0, 3), (3, 4), (4, 7), (7, 9), (9, 12)]
    assert pack(groups, 4) == [[(0, 3), (3, 4)], [(4, 7)], [(7, 9)], [(9, 12)]]
    assert pack(groups, 100) == [groups]
    assert pack(groups, 3) == [[(0, 3)], [(3, 4)], [(4, 7)], [(7, 9)], [(9, 12)]]
    assert pack([], 3) == []
