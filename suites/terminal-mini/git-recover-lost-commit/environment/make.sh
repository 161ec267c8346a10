set -eu
git init -q -b main .
git config user.name Ann && git config user.email ann@example.org
echo base > a; git add . && git commit -qm "Base"
for i in 1 2 3; do echo $i > try$i; git add . && git commit -qm "Try $i"; git reset -q --hard HEAD^; done
echo "21 9 0" > tax; git add . && git commit -qm "Add the tax table"
echo more >> tax; git commit -qam "Add more taxes"; git reset -q --hard HEAD^
git reset -q --hard HEAD^
echo next > b; git add . && git commit -qm "Next"
