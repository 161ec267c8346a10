cd /app/tls && work=$(mktemp -d)
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout $work/ca.key -out ca.pem -days 365 -subj /CN=internal 2>/dev/null
openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout server.key -out $work/server.csr -subj /CN=shop.internal 2>/dev/null
printf 'subjectAltName=DNS:shop.internal,DNS:*.shop.internal,IP:10.1.2.3\nbasicConstraints=CA:FALSE\n' > $work/ext
openssl x509 -req -in $work/server.csr -CA ca.pem -CAkey $work/ca.key -CAcreateserial -CAserial $work/s -days 29 -extfile $work/ext -out server.pem 2>/dev/null
chmod 600 server.key; rm -rf $work
