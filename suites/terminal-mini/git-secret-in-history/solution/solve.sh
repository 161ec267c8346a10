cd /app
export FILTER_BRANCH_SQUELCH_WARNING=1
git -c user.name=A -c user.email=a@example.org filter-branch -f --index-filter 'git rm -q --cached --ignore-unmatch deploy.key' --tag-name-filter cat --prune-empty -- --all >/dev/null
git for-each-ref --format='%(refname)' refs/original | xargs -r -n1 git update-ref -d
git reflog expire --expire=now --all && git gc -q --prune=now
