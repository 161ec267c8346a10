cd /app && sed -i 's/timeout_s = 30,/timeout_s = 30/; s/GCM_SHA384"$/GCM_SHA384",/' server.toml
