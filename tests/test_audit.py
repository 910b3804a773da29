import pandas as pd
import pytest
import torch

from ccbook import parameters
from ccbook.book import audit
from ccbook.chapters import METHODS, defaults
from ccbook.compare import distance, printed
from complexity_control.digits import scale
from complexity_control.pruning import accuracy, prune
from tests.networks import posterior


def test_every_trial_gives_each_method_of_its_family_settings_that_a_chapter_takes():
    trials = audit.read_trials()
    methods: dict[tuple[str, str], list[str]] = {}
    for row in trials.to_dict("records"):
        family, letters, trial = (row.pop(name) for name in ("family", "methods", "trial"))
        for letter in letters:
            changes = {name: value for name, value in row.items() if not pd.isna(value)}
            parameters.check(METHODS[letter].name, defaults(METHODS[letter].name) | changes)
            methods.setdefault((family, trial), []).append(letter)
    alone = {trial: "".join(letters) for (family, trial), letters in methods.items() if "".join(letters) != family}
    assert alone == {"(e) alone: raw λ fed": "e"}
    assert set(trials[trials["trial"] == audit.BASELINE]["family"]) == set(audit.FAMILIES)


def test_the_books_settings_are_a_trial_of_each_family():
    for family, trials in audit.read_trials().groupby("family"):
        as_the_book: dict[str, set[str]] = {}
        for row in trials.to_dict("records"):
            changes = {name: row[name] for name in row if name not in ("family", "methods", "trial")}
            for letter in row["methods"]:
                usual = defaults(METHODS[letter].name)
                if usual == usual | {name: value for name, value in changes.items() if not pd.isna(value)}:
                    as_the_book.setdefault(row["trial"], set()).add(letter)
        assert list(as_the_book.values()).count(set(str(family))) == 1


def study(reported: float) -> pd.DataFrame:
    """Two trials of one seed, of which the nearest at the lambdas to choose by is confirmed with five."""
    rows = [(audit.BASELINE, 1, 2.0, 1.0), ("another", 1, 1.5, 9.0), ("far", 1, 3.0, 0.0)]
    rows += [(audit.BASELINE, 5, 2.0, 2.0), ("another", 5, 2.0, reported)]
    table = pd.DataFrame(rows, columns=["trial", "seeds", "chosen_by", "reported"])
    return table.assign(family="ab", outcome="trained", book=table["trial"] == audit.BASELINE)


@pytest.mark.parametrize(
    ("reported", "words"),
    [(1.79, "1.79 tolerances from the paper, *local draws, shuffled* 2.00: clearly better."),
     (1.81, "not clearly better"), (2.1, ": not better")],
)  # fmt: skip
def test_a_setting_is_chosen_at_two_lambdas_with_one_seed_and_judged_at_the_others_with_all(reported, words):
    said = audit.choice(study(reported)).data
    assert "*another*" in said
    assert words in said
    assert said.endswith("The book uses *local draws, shuffled*.")


def test_lambdas_to_choose_by_and_to_report_at_are_the_papers_four():
    assert sorted([*distance.CHOSEN_BY, *distance.REPORTED_AT]) == list(printed.LAMBDAS)


def test_one_shift_of_the_levels_is_found_where_it_explains_the_curves():
    levels = pd.Series(audit.LEVELS)
    curve = pd.DataFrame({"pruned_percent": levels, "accuracy": 1 - (levels / 100) ** 4})
    inside = levels.isin(range(0, 100, 10))
    curve["paper"] = (1 - (levels * (1 + 5 / 90) / 100) ** 4).where(inside)
    found = audit.shifts(curve.assign(order="an order", method="a", lam=1.0)).loc["an order"]
    assert found["best shift"] == 5
    assert found["with it"] < 0.002 < 0.02 < found["as they stand"]


def test_the_order_by_relative_density_is_the_one_of_pruning():
    torch.manual_seed(0)
    q = posterior([8, 6, 3], models=2)
    (name, density), *others = audit.ORDERS.items()
    assert name == "relative density"
    places = audit.removal(q, density)
    for percent in (0, 30, 90):
        pruned = prune(q, percent).mean
        for weight, place in places.items():
            assert torch.equal(pruned[weight] != 0, place >= place[0].numel() * percent // 100)
    by_mean = audit.removal(q, dict(others)["|μ|"])["W1"]
    for model in range(2):
        sizes = q.mean["W1"][model].abs()
        assert sizes[by_mean[model] < 24].max() <= sizes[by_mean[model] >= 24].min()


def test_a_fine_curve_has_the_accuracies_of_the_pruned_networks():
    torch.manual_seed(0)
    q = posterior([30, 20, 5], models=1)
    images, labels = torch.randint(256, (500, 30), dtype=torch.uint8), torch.arange(500) % 5
    places = audit.removal(q, audit.ORDERS["relative density"])
    network, removed = ({n: t[0] for n, t in each.items()} for each in (q.mean, places))
    ours = audit.fine_curve(network, removed, scale(images).T.contiguous(), labels)
    expected = [accuracy(prune(q, percent), images, labels).item() for percent in audit.LEVELS]
    assert ours == pytest.approx(expected, abs=0.0021)  # rounding may decide on one digit
    assert len({round(a, 3) for a in ours}) > 20
