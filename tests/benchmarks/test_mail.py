"""Mails of 2002 are read as their senders meant them, whatever their headers say."""

import pytest

from data_texts import body


def mail(content, kind="text/plain", charset="us-ascii", encoding="7bit"):
    head = f"Content-Type: {kind}; charset={charset}\nContent-Transfer-Encoding: {encoding}\n"
    return f"From: a@example.org\nSubject: hello\n{head}\n{content}"


@pytest.mark.parametrize(
    ("raw", "text", "in_html"),
    [
        (mail("Hello  there,\n friend"), "Hello there, friend", False),
        (mail("<b>Buy</b>\nnow &amp; here", "text/html"), "<b>Buy</b> now &amp; here", True),
        (mail("<HTML><p>No header says so</HTML>"), "<HTML><p>No header says so</HTML>", True),
        (mail("Write to <me@example.org>"), "Write to <me@example.org>", False),
        (mail("<html>attached</html>", "application/x"), "<html>attached</html>", True),
        (mail("4 < 5 and no tag"), "4 < 5 and no tag", False),
        (mail("SGVsbG8=", encoding="base64"), "Hello", False),
        (mail("caf\u00e9", charset="no-such-charset"), "caf\u00e9", False),
        (mail("x" * 5000), "x" * 4000, False),
        ("no header at all", "no header at all", False),
    ],
)
def test_body(raw, text, in_html):
    assert body(raw) == (text, in_html)


def test_of_several_parts_the_html_counts():
    raw = (
        'Content-Type: multipart/alternative; boundary="b"\n\n'
        "--b\nContent-Type: text/plain\n\nplain words\n"
        "--b\nContent-Type: text/html\n\n<html>marked words</html>\n"
        "--b\nContent-Type: image/png\n\nnot read\n--b--\n"
    )
    assert body(raw) == ("<html>marked words</html>", True)
