#!/bin/bash
cd "$(dirname "$0")"
export APP_CONFIG=confg.json
exec python3 service.py
