"""The command builder of *Rerun it*, in a browser, beside the command itself."""

import json
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from playwright.sync_api import Browser, Page, expect
from pydantic import AfterValidator

from ccbook import chapters
from ccbook.book import builder, pdf
from ccbook.parameters import MODELS, ParameterError
from ccbook.records import history
from ccbook.records.run import Run
from tests.helpers import ccbook, ended

NUMBERS = ["1", "3.5", "0", "-0", "-1", "1e-3", "1e2", ".5", "5.", "+2", " 3 ", "1_000", "1__0", "0x10", "x", "1,5",
           "inf", "nan", "1e400", "2e30", "99999999", "--1", "1e", "1 2"]  # fmt: skip
LISTS = ["1", "0.1,1,10", "[1, 2]", "1,1", "2,1", "0", "-1,1", "1.5", "1e-3", "a", "[1", "1,,2", "[]", "1 2", "[1],2",
         "[[1]]", '"1",2', '"x"', "true", "null", "1e400", "{}", "0,x", "0,-1", "100000,100000", "1,2,3",
         " [.1, 1] ", "020"]  # fmt: skip
ALONE = [(letter, {name: text}) for letter, names, texts in (
    ("a", ("epochs", "batch_size", "learning_rate", "init_log_std", "clip"), NUMBERS),
    ("c", ("samples", "lam_power"), NUMBERS), ("e", ("init_slope",), NUMBERS),
    ("g", ("degree", "mean_degree"), NUMBERS),
    ("a", ("lambdas", "seeds", "hidden"), LISTS), ("c", ("lam_range",), LISTS),
) for name in names for text in texts]  # fmt: skip
TOGETHER: list[tuple[str, dict[str, str]]] = [
    ("a", {}), ("c", {}), ("d", {}), ("g", {}),
    ("d", {"hidden": "50", "profile": "quick"}), ("f", {"epochs": "2", "dataset": "KMNIST"}),
    *(("a", {"profile": "quick"} | more) for more in ({}, {"epochs": "50"}, {"epochs": "1"})),
    ("a", {"profile": "quick", "seeds": "3,4"}), ("a", {"profile": "quick", "seeds": "3,4", "epochs": "9"}),
    ("a", {"momentum": "0.9"}), ("a", {"momentum": "0.9", "optimizer": "sgd"}), ("a", {"momentum": "1"}),
    ("a", {"epochs": "0", "lambdas": "0,1", "hidden": "x"}), ("a", {"dataset": "a\tb"}),
    ("a", {"dataset": "OpticalDigits", "shuffle": "false"}),
    ("e", {"feed": "log", "stratified": "true", "samples": "20"}), ("a", {"precision": "bfloat16"}),
    ("a", {"lambdas": "[1, 2]", "hidden": "300,100", "epochs": "1000"}), ("g", {"mean_degree": "0"}),
]  # fmt: skip


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    if pdf.find() is None:
        pytest.skip(pdf.MISSING)
    with pdf.started() as started:
        yield started


@pytest.fixture
def form(run, chromium: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    """The form alone on a page, which knows of one past run."""
    monkeypatch.setattr(os, "cpu_count", torch.get_num_threads)
    page = tmp_path / "form.html"
    page.write_text(f"<!doctype html><html lang=en><meta charset=utf-8><title>Form</title>{builder.form([run])}")
    tab = chromium.new_page()
    tab.goto(page.as_uri())
    yield tab
    tab.close()


def said_by_page(form: Page, cases: list[tuple[str, dict[str, str]]]) -> list[dict[str, Any]]:
    """What the page says of each case: command, faults and price."""
    script = "cases => { const { built } = document.querySelector('.builder'); return cases.map((c) => built(...c)); }"
    return form.evaluate(script, cases)


def refusals(said: str) -> list[tuple[str, str]]:
    """Each parameter that the command refuses, and why."""
    faults = said.removeprefix("Error: ").strip().split("; parameter ")
    split = [re.fullmatch(r"(?:parameter )?(\S+) = (?:.*?: )?(.*?)", fault) for fault in faults]
    return [(m[1], re.sub(r"^.* (?=would be taken)", "", m[2])) for m in split if m]


def assigned(words: list[str]) -> dict[str, str]:
    """The name=value pairs of a command."""
    return dict(word.split("=", 1) for word in words if "=" in word)


def test_the_page_reads_what_is_typed_as_the_command_reads_it(form):
    """A parameter at a time: the same run, or the same reasons."""
    wrong = []
    for (letter, typed), page in zip(ALONE, said_by_page(form, ALONE), strict=True):
        ours: Any = sorted(map(tuple, page["faults"]))
        try:
            theirs: Any = history.derived(chapters.named(letter), typed, None)
            ours = ours or history.derived(chapters.named(letter), assigned(shlex.split(page["command"])), None)
        except ParameterError as error:
            theirs = sorted(refusals(str(error)))
        if ours != theirs:
            wrong.append(f"{letter} {typed}\n  page    {ours}\n  command {theirs}")
    assert not wrong, "\n".join(wrong)
    assert len(ALONE) > 300


@pytest.mark.parametrize("place", range(len(TOGETHER)))
def test_the_pages_command_does_what_the_page_says(form, place, tmp_path, monkeypatch):
    monkeypatch.setenv("CCBOOK_DATA", str(tmp_path / "data"))  # a dry run fetches nothing
    letter, typed = TOGETHER[place]
    (page,) = said_by_page(form, [TOGETHER[place]])
    given = [f"{name}={text}" for name, text in typed.items()]
    asked = ccbook("run", letter, *(["--set", *given] if given else []), "--with-start", "--dry-run")
    assert refusals(asked.output) * (asked.exit_code == 2) == [tuple(fault) for fault in page["faults"]]
    if not page["faults"]:
        said = ended(ccbook(*shlex.split(page["command"])[1:], "--dry-run"))
        assert "on record   no" in said or "has its name once" in said
        assert history.derived(chapters.named(letter), typed, None) == history.derived(
            chapters.named(letter), assigned(shlex.split(page["command"])), None
        )
        *_, price = re.findall("would take  (.*)", said)
        assert page["price"].partition(":")[0] == price.partition(":")[0]


def test_the_page_knows_every_rule_of_the_parameters():
    rules = {rule.func.__name__ for model in MODELS.values() for field in model.model_fields.values()
             for rule in field.metadata if isinstance(rule, AfterValidator)}  # fmt: skip
    assert rules - {"<lambda>"} <= set(builder.FAULTS)


def test_the_form_has_the_parameters_of_the_help():
    said = ended(ccbook("run", "--help"))
    for letter, method in builder.known([])["methods"].items():
        names = [p.name for p in chapters.parameters(chapters.METHODS[letter].name) if p.name != "force"]
        assert sorted(field["name"] for field in method["fields"]) == sorted(names)
        assert all(f"{field['name']}: " in said for field in method["fields"])


def test_the_form_works_by_keyboard_and_keeps_its_state_in_the_address(form):
    form.keyboard.press("Tab")
    form.keyboard.type("(e)")
    form.keyboard.press("Tab")  # dataset
    form.keyboard.press("Tab")
    form.keyboard.type("0.1,5")  # over what was there, which the tab key selects
    command = form.locator("pre code")
    assert command.inner_text() == "ccbook run e --set lambdas=0.1,5"
    assert form.url.endswith("?method=e&lambdas=0.1%2C5")
    form.get_by_label("Method").select_option("a")  # what was changed stays
    assert command.inner_text() == "ccbook run a --set lambdas=0.1,5"
    form.get_by_label("epochs").fill("0")
    assert form.locator(".says li").all_inner_texts() == ["epochs Input should be greater than or equal to 1"]
    assert form.get_by_label("epochs").get_attribute("aria-invalid") == "true"
    assert not form.get_by_role("button", name="Copy").is_visible()
    form.get_by_label("epochs").fill("3")
    form.reload()
    assert command.inner_text() == "ccbook run a --set lambdas=0.1,5 epochs=3"
    form.context.grant_permissions(["clipboard-read"])
    form.get_by_role("button", name="Copy").click()
    expect(form.get_by_role("button", name="Copied")).to_be_visible()  # the clipboard answers when it likes
    assert form.evaluate("navigator.clipboard.readText()") == "ccbook run a --set lambdas=0.1,5 epochs=3"


def test_a_runs_address_fills_the_form_with_its_parameters(form, run: Run):
    form.goto(
        f"{form.url.partition('form.html')[0]}form.html{builder.address(run.parameters).removeprefix('rerun.html')}"
    )
    expected = history.command(run.parameters, public=True).replace("a_direct", "a")
    assert sorted(shlex.split(form.locator("pre code").inner_text())) == sorted(shlex.split(expected))
    assert "must be a folder on your machine" in form.locator(".says").inner_text()


def test_a_hostile_address_is_text(form, run):
    form.goto(f"{form.url}?method=__proto__&epochs=<img src=x onerror=alert(1)>&prior_std=1;rm -rf ~&dataset=a'b")
    assert form.locator("img").count() == 0
    form.goto(f"{form.url.partition('?')[0]}?method=a&dataset=a'b;rm -rf ~")
    assert shlex.split(form.locator("pre code").inner_text())[-1] == "dataset=a'b;rm -rf ~"


def test_no_markup_of_a_run_ends_the_data_of_the_form(run):
    data = builder.form([run]).split('json">')[1].split("</script>")[0]
    assert json.loads(data)["methods"]["a"]["past"]
    assert "<" not in data
