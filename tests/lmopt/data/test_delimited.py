import csv
import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lmopt.config.task import TaskConfig
from lmopt.data.delimited import read_delimited
from lmopt.data.tables import Request, Table

COLUMNS = {"text": "task.text_column", "label": "task.label_column"}
# Letters of two scripts, and everything that is special in some dialect.
TEXTS = st.text(st.sampled_from("ab ёЖ中,;\t|\"\\\n\r'."), min_size=1, max_size=12).filter(
    str.strip
)
HEADER = ("id", "text", "label")


def read(text: str, usual: str = ",", **form: str) -> Table:
    task = TaskConfig.model_validate({"dataset": "x", **form})
    return read_delimited(text, "x.csv", Request(COLUMNS, task, "task"), usual)


def written(rows: list[tuple[str, ...]], **dialect: object) -> str:
    """The csv file that Python's own writer makes of rows."""
    file = io.StringIO()
    csv.writer(file, **dialect).writerows(rows)  # type: ignore[arg-type]
    return file.getvalue()


@given(
    st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=6),
    st.sampled_from(",;\t|"),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
)
@example([('Он сказал: "да";\nи ушёл, "молча"', "a"), ("\n", "b")], ";", "\r\n", csv.QUOTE_MINIMAL)
def test_any_text_survives_any_separator_without_being_told(
    rows: list[tuple[str, str]], separator: str, end: str, quoting: int
) -> None:
    if end == "\n" and quoting == csv.QUOTE_MINIMAL:  # Python 3.11 leaves a lone \r unquoted then.
        rows = [
            (f"x{text}".replace("\r", ""), f"y{label}".replace("\r", "")) for text, label in rows
        ]
    text = written(
        [HEADER, *((str(i), *row) for i, row in enumerate(rows))],
        delimiter=separator, lineterminator=end, quoting=quoting,
    )  # fmt: skip
    table = read(text)
    assert table.columns["text"] == [text for text, _ in rows]
    assert table.columns["label"] == [label for _, label in rows]


@given(st.lists(TEXTS, min_size=1, max_size=6), st.sampled_from(",;\t"))
def test_quotes_after_a_backslash_are_read_when_told(texts: list[str], separator: str) -> None:
    rows = [HEADER, *(("1", text, "a") for text in texts)]
    text = written(
        rows, delimiter=separator, quoting=csv.QUOTE_ALL, doublequote=False, escapechar="\\"
    )
    assert read(text, quoting="backslash").columns["text"] == texts


@given(st.lists(st.text(st.sampled_from("aё \"',;."), min_size=1).filter(str.strip), min_size=1))
@example(['"Да', 'нет"', '"'])
def test_quotes_are_text_when_told(texts: list[str]) -> None:
    text = "text\tlabel\n" + "".join(f"{text}\ta\n" for text in texts)
    assert read(text, "\t", quoting="none").columns["text"] == texts


def test_blanks_after_separators_are_no_content() -> None:
    assert read("text, label\na, spam\n").columns == {"text": ["a"], "label": ["spam"]}
    quoted = 'label,text\na, "да, нет"\nb, "и ""так"""\n'
    assert read(quoted).columns["text"] == ["да, нет", 'и "так"']
    only_a_label = 'text,label\nда, "a"\nнет, "b"\n'
    assert read(only_a_label).columns["label"] == ["a", "b"]
    # A text may begin with a blank and go on with a quote.
    assert read('text,label\n "Да" сказал он,a\n').columns["text"] == [' "Да" сказал он']


def test_columns_that_nobody_asked_for_may_hold_anything() -> None:
    text = "n,text,n,label,\n1,a,x,spam,\n,b,,ham\nx,c,y,spam,,,\n"
    assert read(text).columns == {"text": ["a", "b", "c"], "label": ["spam", "ham", "spam"]}


def test_numbers_are_the_text_that_is_written() -> None:
    table = read("text,label\n1,001\n2.50,1.0\nNA,null\nTRUE,1e3\n")
    assert table.columns["text"] == ["1", "2.50", "NA", "TRUE"]
    assert table.columns["label"] == ["001", "1.0", "null", "1e3"]
    assert not table.typed


def test_rows_have_the_numbers_of_their_lines() -> None:
    text = 'text,label\n\na,x\n"two\nlines",y\n;;\n,\nb,x\n'
    assert list(read(text).numbers) == [3, 4, 6, 8]
    assert list(read("text;label\r\na;x\r\n;\r\nb;y\r\n").numbers) == [2, 4]


def test_a_text_longer_than_the_library_s_own_limit_is_read() -> None:
    long = "слово " * 40_000
    assert read(f"text,label\n{long},a\n").columns["text"] == [long]


@pytest.mark.parametrize(
    ("text", "form", "said"),
    [
        ("text,label\nда, нет,a\n", {}, "line 2 of x.csv has 3 columns and its header 2"),
        ("text,label\na,x\nb,y,z\n", {}, "line 3 of x.csv has 3 columns"),
        ("text;label\na,x;y\n", {"separator": ","}, r"no column 'text' .* it has text;label$"),
        ("text;topic\na;x\n", {}, r"no column 'label' \(task.label_column\) in x.csv: it has text"),
        ('text\tlabel\n"Да\tx\n"Нет\ty\n', {}, "line 2 of x.csv .*task.quoting to none"),
        ('text,label\na,x\n"b,y\n', {}, "line 3 of x.csv .* quote"),
        ('text,label\n"He said \\"hi\\"",x\n', {}, "line 2 .*backslash"),
        ("text,label,text\na,x,b\n", {}, "two columns 'text'"),
        ("\n\n", {}, "x.csv is empty"),
    ],
)
def test_a_broken_file_is_refused_by_its_line(text: str, form: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said) as error:
        read(text, **form)
    assert "\n" not in str(error.value)


def test_one_column_of_texts_needs_no_separator() -> None:
    request = Request({"text": "task.unlabelled.text_column"}, TaskConfig(dataset="x"), "task")
    table = read_delimited("text\nда, нет\nи так\n", "x.csv", request, ",")
    assert table.columns["text"] == ["да, нет", "и так"]
