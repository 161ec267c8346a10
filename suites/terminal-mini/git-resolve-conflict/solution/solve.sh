cd /app
cat > shop.py <<'PY'
def price(net, vat=21, discount=0):
    return round(net * (100 - discount) / 100 * (100 + vat) / 100, 2)
PY
printf 'be\nde\nlu\nnl\n' > regions.txt
git add shop.py regions.txt && git -c user.name=A -c user.email=a@example.org commit -qm "Merge feature"
