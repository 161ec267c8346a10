set -eu
umask 000
mkdir -p store/bin store/conf/deep store/data outside "store/odd name"
for f in bin/run bin/stop conf/a.yaml conf/deep/tls.key conf/ca.pem data/rows.csv "odd name/x y.txt"; do echo "$f" > "store/$f"; done
chmod 777 store/bin/run store/data/rows.csv; chmod 644 store/bin/stop store/conf/deep/tls.key
ln -s ../../outside store/data/leak; ln -s rows.csv store/data/current; ln -s /etc/passwd "store/odd name/pw"
ln -s ../data store/conf/data; ln -s deep/../../../outside/none store/conf/dangling
echo secret > outside/kept
