#!/usr/bin/env python3
"""Recomputes the closing stock of a trace from its CSV file alone, and compares it with what Holdfast wrote.

    closing_stock.py TRACE.csv STOCK.csv [OPENING]

It shares no code with Holdfast, only the rules:

* One record is one row, as RFC 4180 has it: fields in quotes may hold commas, doubled quotes and line breaks. A row that cannot be
  read, or that holds a number beyond what Holdfast counts, does nothing. Where a quotation mark is out of place, the rest of
  the file does nothing.
* A stock code that does not begin with five digits is a fee or a discount, or was mangled, and no product. Neither is one that
  is a number with a point, or with more than five digits of which the first is 0.
* Invoices and customers are numbers without a zero in front. An invoice may have a C before it.
* A row of an invoice that does not begin with C sells its pieces, if they and the price are above 0 and the price is in
  whole pence. All accepted rows of an invoice are one order of one customer; it was placed at the earliest of their times.
* A row of an invoice that begins with C brings its pieces back, if a customer is named who has an earlier order with so
  many pieces of the product left: into the latest such order, and of several at the same time the last in the file.
* Every product sold starts with OPENING pieces, so none runs out.

Exits 0 if all products agree, 1 at the first that does not, 2 if there is nothing to compare.
"""

import csv
import re
import sys
from datetime import datetime

COLUMNS = "invoice_no,stock_code,description,quantity,invoice_date,unit_price,customer_id,country".split(",")
QUANTITY_MAX = 10**9
PENCE_MAX = 10**12
LINES_MAX = 1000
RECORD_BYTES_MAX = 65536


def rows(path):
    with open(path, "rb") as file:
        records = list(split(file.read()))
    if [name.removeprefix("\ufeff").lower() for name in records[:1] and records[0]] != COLUMNS:
        sys.exit(f"{path}: its first line does not name the columns")
    return [parsed for record in records[1:] if (parsed := parse(record)) is not None]


def split(data):
    """The records of a file, until a quotation mark is out of place."""
    field = re.compile(rb'(?:"((?:[^"]|"")*)"|([^,\n]*?))(,|\r?\n|\r?\Z)')
    at = begin = 0
    record, has_inches = [], False
    while at < len(data) or record:
        match = field.match(data, at)
        if match is None or match[2] is not None and match[2].removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b'"'):
            return
        quoted, plain, end = match.groups()
        has_inches |= plain is not None and b'"' in plain
        record.append((quoted.replace(b'""', b'"') if plain is None else plain).decode("utf-8", "replace").strip())
        # A carriage return outside quotes spoils the record.
        if plain is not None and b"\r" in plain:
            record.append("")
        at = match.end()
        if end != b",":
            raw = data[begin : match.start(3)]
            if has_inches and b"\n" in raw:
                return
            yield record if len(raw) <= RECORD_BYTES_MAX else []
            record, has_inches, begin = [], False, at


def parse(row):
    if len(row) != len(COLUMNS):
        return None
    invoice, code, _, quantity, date, price, customer, _ = row
    readable = (
        re.fullmatch(r"C?[1-9][0-9]{0,62}", invoice)
        and re.fullmatch(r"([1-9][0-9]{0,62})?", customer)
        and re.fullmatch(r"[0-9]{5}[A-Za-z0-9._-]{0,59}", code)
        and not re.fullmatch(r"[0-9]{5}[0-9.]*\.[0-9.]*|0[0-9]{5,}", code)
        and re.fullmatch(r"-?[0-9]+", quantity)
        and (money := re.fullmatch(r"(-?)([0-9]+)(?:\.([0-9]+))?", price))
        and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}", date)
    )
    if not readable:
        return None
    try:
        date = datetime.fromisoformat(date)
    except ValueError:
        return None
    sign, pounds, decimals = money[1], money[2], (money[3] or "").ljust(2, "0")
    pence = int(pounds) * 100 + int(decimals[:2])
    if abs(int(quantity)) > QUANTITY_MAX or pence > PENCE_MAX:
        return None
    whole_and_positive = not sign and pence > 0 and not decimals[2:].strip("0")
    return invoice, code, int(quantity), date, whole_and_positive, customer


def closing_stock(path, opening):
    orders, cancellations, stock = {}, [], {}
    for invoice, code, quantity, date, has_price, customer in rows(path):
        if invoice.startswith("C"):
            if quantity < 0 and customer:
                cancellations.append((code, -quantity, date, customer))
        elif quantity > 0 and has_price:
            order = orders.setdefault(invoice, {"customer": customer, "at": date, "lines": 0, "left": {}})
            if order["customer"] == customer and order["lines"] < LINES_MAX:
                order["lines"] += 1
                order["at"] = min(order["at"], date)
                order["left"][code] = order["left"].get(code, 0) + quantity
                stock[code] = stock.get(code, opening) - quantity
    of_customer = {}
    for place, order in enumerate(orders.values()):
        of_customer.setdefault(order["customer"], []).append((place, order))
    for code, quantity, date, customer in cancellations:
        earlier = [
            (order["at"], place, order)
            for place, order in of_customer.get(customer, [])
            if order["at"] <= date and order["left"].get(code, 0) >= quantity
        ]
        if earlier:
            latest = max(earlier, key=lambda match: match[:2])[2]
            latest["left"][code] -= quantity
            stock[code] += quantity
    return stock


def main(trace, stock_file, opening="100000"):
    expected = closing_stock(trace, int(opening))
    with open(stock_file, newline="", encoding="utf-8") as file:
        found = {row["stock_code"]: int(row["on_hand"]) for row in csv.DictReader(file)}
    for code in sorted(expected.keys() | found.keys()):
        if expected.get(code) != found.get(code):
            print(f"product {code}: the trace gives {expected.get(code)}, and Holdfast has {found.get(code)}")
            return 1
    print(f"{len(expected)} products agree")
    return 0 if expected else 2


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
