"""A run's figures as the terminal shows them."""

from io import StringIO

from rich.console import Console

from ccafl.evaluation.tables import comparison_table, results_table


def shown(table) -> list[list[str]]:
    """The rows' cells."""
    text = StringIO()
    Console(file=text, width=100).print(table)
    rows = [
        [cell.strip() for cell in line.strip("│┃").replace("┃", "│").split("│")] for line in text.getvalue().split("\n")
    ]
    return [row for row in rows if len(row) > 1 and not set("".join(row)) <= set("━─┳╇┼┬┴├┤┡┩ ")]


def test_shares_are_percentages_and_the_rest_is_unchanged():
    results = {"mAP": 0.125, "rank1": None, "seconds": 0.5, "seed": 1, "association": {"f1": 1.0, "pairs": 3}}
    assert shown(results_table(results)) == [
        ["mAP", "12.5 %"],
        ["seconds", "0.5"],
        ["seed", "1"],
        ["association f1", "100.0 %"],
        ["association pairs", "3"],
    ]


def test_brackets_in_names_are_not_markup():
    assert shown(results_table({"dataset": "folder:[bold]x"})) == [["dataset", "folder:[bold]x"]]


def test_runs_stand_side_by_side():
    same = {"mAP": 0.5, "rank1": 0.75, "steps": 8, "seconds": 1.5, "association": {"precision": 0.25, "recall": 1.0}}
    assert shown(comparison_table({"intra": same | {"mode": "intra"}, "ccafl": same | {"mode": "ccafl"}})) == [
        ["", "intra", "ccafl"],
        ["mAP", "50.0 %", "50.0 %"],
        ["rank1", "75.0 %", "75.0 %"],
        ["association precision", "-", "25.0 %"],
        ["association recall", "-", "100.0 %"],
        ["steps", "8", "8"],
        ["seconds", "1.5", "1.5"],
    ]
