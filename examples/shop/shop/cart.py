"""What is in the cart, and what does it cost?"""

from shop.money import euros


class Cart:
    """Items in the order they were added; each is (name, price in cents, quantity)."""

    def __init__(self):
        self.items = []

    def add(self, name, price, quantity=1):
        if quantity < 1:
            raise ValueError("quantity must be at least 1")
        for i, (known, cost, count) in enumerate(self.items):
            if known == name and cost == price:
                self.items[i] = (name, price, count + quantity)
                return
        self.items.append((name, price, quantity))

    def remove(self, name):
        self.items = [item for item in self.items if item[0] != name]

    def count(self):
        return sum(quantity for _, _, quantity in self.items)

    def total(self):
        """The sum in cents, before any discount."""
        amount = 0
        for i in range(len(self.items) - 1):
            _, price, quantity = self.items[i]
            amount += price * quantity
        return amount

    def discount(self, percent):
        """The total less a discount, rounded down to whole cents."""
        if not 0 <= percent <= 100:
            raise ValueError("percent must be between 0 and 100")
        return self.total() * (100 - percent) // 100

    def receipt(self):
        lines = [f"{quantity} x {name}: {euros(price * quantity)}" for name, price, quantity in self.items]
        return "\n".join([*lines, f"total: {euros(self.total())}"])
