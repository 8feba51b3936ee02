"""The two READMEs are in step: the same sections, blocks, numbers and links, in the same order."""

import re
from pathlib import Path

from tests.docs.pages import README, RUSSIAN, blocks, headings, links, prose, table_rows
from tests.docs.pages import without_comment as bare


def test_sections_are_the_same() -> None:
    assert headings(README) == headings(RUSSIAN)


def test_code_is_the_same_but_for_its_comments() -> None:
    def code(page: Path) -> list[tuple[str, list[str]]]:
        return [(b.language, [*map(bare, b.text.splitlines())]) for b in blocks(page)]

    assert code(README) == code(RUSSIAN)


def test_tables_hold_the_same_numbers() -> None:
    assert table_rows(README) == table_rows(RUSSIAN)
    assert any(re.search(r"\d\.\d", cell) for row in table_rows(README) for cell in row)


def test_links_lead_to_the_same_places_and_to_each_other() -> None:
    ours, theirs = links(README), links(RUSSIAN)
    assert "README.ru.md" in ours and "README.md" in theirs
    swapped = ["README.md" if link == "README.ru.md" else link for link in ours]
    assert swapped == theirs


def test_what_stands_in_code_is_named_in_both() -> None:
    def names(text: str) -> list[str]:
        return sorted(re.findall(r"`([^`\n]+)`", text))

    assert names(prose(README)) == names(prose(RUSSIAN))


def test_the_russian_page_is_russian() -> None:
    text = re.sub(r"`[^`]*`|\([^)]*\)", "", prose(RUSSIAN))
    cyrillic, latin = (len(re.findall(letters, text)) for letters in ("[а-яё]", "[a-z]"))
    assert cyrillic > 5 * latin
