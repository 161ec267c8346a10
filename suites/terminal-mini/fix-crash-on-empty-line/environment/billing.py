"""Totals per client of a file with lines `client hours rate`."""

import sys


def totals(lines):
    """client -> cents"""
    found = {}
    for line in lines:
        client, hours, rate = line.split()
        cents = round(float(hours) * float(rate) * 100)
        found[client] = found.get(client, 0) + cents
    return found


def main():
    with open(sys.argv[1]) as file:
        for client, cents in sorted(totals(file).items()):
            print(f"{client} {cents / 100:.2f}")


if __name__ == "__main__":
    main()
