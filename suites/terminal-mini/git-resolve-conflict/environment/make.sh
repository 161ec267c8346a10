set -eu
git init -q -b main .
git config user.name Ann && git config user.email ann@example.org
cat > shop.py <<'PY'
def price(net, vat=21):
    return net * (100 + vat) / 100
PY
printf 'be\nnl\n' > regions.txt
git add . && git commit -qm "Begin"
git checkout -qb feature
cat > shop.py <<'PY'
def price(net, vat=21, discount=0):
    return net * (100 - discount) / 100 * (100 + vat) / 100
PY
printf 'be\nlu\nnl\n' > regions.txt
git commit -qam "Give discounts"
git checkout -q main
cat > shop.py <<'PY'
def price(net, vat=21):
    return round(net * (100 + vat) / 100, 2)
PY
printf 'be\nde\nnl\n' > regions.txt
git commit -qam "Round to cents"
git merge feature || true
