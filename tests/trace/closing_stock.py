#!/usr/bin/env python3
"""Recomputes the closing stock of a trace from its CSV file alone, and compares it with what Holdfast wrote.

    closing_stock.py TRACE.csv STOCK.csv [OPENING]

It shares no code with Holdfast, only the rules:

* One line is one row. A row that cannot be read, or that holds a number beyond what Holdfast counts, does nothing.
* A stock code that does not begin with five digits is a fee or a discount, no product.
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
import unicodedata
from datetime import datetime

COLUMNS = "invoice_no,stock_code,description,quantity,invoice_date,unit_price,customer_id,country".split(",")
QUANTITY_MAX = 10**9
PENCE_MAX = 10**12
LINES_MAX = 1000
LINE_BYTES_MAX = 65536


def rows(path):
    with open(path, "rb") as file:
        for number, line in enumerate(file):
            row = fields(line) if len(line) <= LINE_BYTES_MAX else []
            if number == 0:
                if [name.lstrip("\ufeff").lower() for name in row] != COLUMNS:
                    sys.exit(f"{path}: its first line does not name the columns")
            elif (parsed := parse(row)) is not None:
                yield parsed


def fields(line):
    try:
        read = list(csv.reader([line.decode("utf-8", "replace").removesuffix("\n").removesuffix("\r")]))
    except csv.Error:
        return []
    return [field.strip(" \t\n\x0c\r") for field in read[0]] if len(read) == 1 else []


def parse(row):
    if len(row) != len(COLUMNS):
        return None
    invoice, code, _, quantity, date, price, customer, _ = row
    plain = re.compile(r"[!-~]{0,64}")
    readable = (
        invoice
        and plain.fullmatch(invoice)
        and plain.fullmatch(customer)
        and re.match(r"[0-9]{5}", code)
        and len(code) <= 128
        and all(letter == " " or not unicodedata.category(letter).startswith(("C", "Z")) for letter in code)
        and "\ufffd" not in code
        and re.fullmatch(r"-?[0-9]+", quantity)
        and (money := re.fullmatch(r"(-?)([0-9]+)(?:\.([0-9]+))?", price))
        and len(date) == 19
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
