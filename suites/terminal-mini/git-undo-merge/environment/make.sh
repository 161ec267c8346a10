set -eu
git init -q -b main .
git config user.name Ann && git config user.email ann@example.org
printf 'a\nb\nc\n' > list.txt; echo 1 > version; git add . && git commit -qm "Begin"
git checkout -qb risky
printf 'a\nB!\nc\nd\n' > list.txt; echo danger > feature.txt; git add . && git commit -qm "Try a feature"
git checkout -q main
echo 2 > version; git commit -qam "Version 2"
git merge -q --no-ff -m "Merge risky" risky
echo 3 > version; git commit -qam "Version 3"
echo more > other.txt; git add . && git commit -qm "More"
git rev-parse HEAD > .git/tip
