set -eu
git init -q -b main .
git config user.name Ann && git config user.email ann@example.org
echo a > a; git add . && git commit -qm "Begin"
echo "not-a-real-key 4711-0815" > deploy.key; echo b > b; git add . && git commit -qm "Add b"
echo c > c; git add . && git commit -qm "Add c"; git tag v1
git rm -q deploy.key && git commit -qm "Remove the key"
echo d > d; git add . && git commit -qm "Add d"
