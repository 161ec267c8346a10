set -eu
git init -q -b main .
git config user.name Ann && git config user.email ann@example.org
cat > prices.py <<'PY'
def net(gross, vat=21):
    return round(gross / (1 + vat / 100), 2)
PY
cat > test_prices.py <<'PY'
import unittest
from prices import net

class Prices(unittest.TestCase):
    def test_net(self):
        self.assertEqual(net(121), 100.0)
        self.assertEqual(net(109, 9), 100.0)
PY
git add . && git commit -qm "Net prices" && git tag good
for i in 1 2 3 4 5; do echo "note $i" >> NOTES; git add . && git commit -qm "Note $i"; done
sed -i 's/vat=21/vat=21, digits=2/; s/, 2)/, digits)/' prices.py && git commit -qam "Let callers say how many digits"
for i in 6 7 8; do echo "note $i" >> NOTES; git commit -qam "Note $i"; done
sed -i 's#gross / (1 + vat / 100)#gross * (1 - vat / 100)#' prices.py && git commit -qam "Speed up net"
for i in 9 10 11 12; do echo "note $i" >> NOTES; git commit -qam "Note $i"; done
