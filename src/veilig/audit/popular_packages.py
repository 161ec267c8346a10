"""Which package names does everybody know? What a typo-squatter imitates (names as data, PyPI, 2026)."""

_NAMES = """
    absl-py aiobotocore aiofiles aiohttp aiosignal alembic amqp annotated-types anthropic anyio
    apache-airflow appdirs apscheduler argcomplete argon2-cffi arrow asgiref asn1crypto astroid
    async-timeout asyncpg attrs authlib azure-core azure-identity azure-storage-blob babel backoff
    bcrypt beautifulsoup4 billiard bitarray black bleach blinker bokeh boto boto3 botocore bottle
    build cachecontrol cachetools cattrs celery certifi cffi chardet charset-normalizer cherrypy
    chromadb click click-plugins cloudpickle colorama coloredlogs contourpy coverage croniter
    cryptography cycler cython dash dask databricks-sdk dataclasses-json datasets dateparser debugpy
    decorator defusedxml deprecated diskcache distlib distro django django-cors-headers
    django-filter djangorestframework dnspython docker docopt docutils duckdb ecdsa elasticsearch
    email-validator et-xmlfile eventlet exceptiongroup execnet fabric faker fastapi fastavro
    fastjsonschema filelock flake8 flask flask-cors flask-login flask-restful flask-sqlalchemy
    flask-wtf fonttools frozenlist fsspec future gevent gitdb gitpython google-api-core
    google-api-python-client google-auth google-cloud-bigquery google-cloud-storage
    googleapis-common-protos graphql-core greenlet grpcio gunicorn h11 h5py hatchling html5lib
    httpcore httplib2 httptools httpx huggingface-hub humanize hypercorn hypothesis idna imageio
    importlib-metadata importlib-resources iniconfig invoke ipykernel ipython isodate isort
    itsdangerous jedi jinja2 jmespath joblib jsonpatch jsonpointer jsonschema jupyter jupyterlab
    jwcrypto kafka-python keras keyring kiwisolver kombu kubernetes langchain langchain-core
    langsmith ldap3 librosa lightgbm litellm llvmlite locust loguru lxml mako markdown
    markdown-it-py markupsafe marshmallow matplotlib mccabe mechanize mistune mkdocs mlflow mock
    more-itertools moto mpmath msal msgpack multidict mypy mypy-extensions mysql-connector-python
    mysqlclient nbconvert nbformat nest-asyncio networkx nltk notebook numba numexpr numpy oauthlib
    odfpy onnx onnxruntime openai opencv-python openpyxl opentelemetry-api opentelemetry-sdk
    oracledb orjson packaging pandas paramiko parso passlib pathspec patsy peewee pendulum pexpect
    pillow pip pipenv platformdirs playwright plotly pluggy poetry polars portalocker pre-commit
    prettytable prometheus-client prompt-toolkit propcache protobuf psutil psycopg psycopg2
    psycopg2-binary ptyprocess pure-eval py py4j pyarrow pyasn1 pyasn1-modules pycodestyle pycparser
    pycryptodome pycryptodomex pydantic pydantic-core pydantic-settings pyflakes pygithub pygments
    pyinstaller pyjwt pylint pymongo pymysql pynacl pyodbc pyopenssl pyparsing pypdf pypdf2
    pyperclip pyproject-hooks pyramid pyright pyserial pyspark pytest pytest-asyncio pytest-cov
    pytest-mock pytest-xdist python-dateutil python-docx python-dotenv python-jose
    python-json-logger python-multipart python-slugify pytz pywin32 pyyaml pyzmq qrcode rapidfuzz
    redis referencing regex reportlab requests requests-oauthlib requests-toolbelt responses rich
    rpds-py rsa ruamel-yaml ruff s3fs s3transfer sanic scikit-image scikit-learn scipy scrapy
    seaborn selenium sentence-transformers sentencepiece sentry-sdk setproctitle setuptools shapely
    simplejson six slack-sdk smmap sniffio snowflake-connector-python sortedcontainers soupsieve
    spacy sphinx sqlalchemy sqlmodel sqlparse starlette statsmodels streamlit structlog sympy
    tabulate tenacity tensorboard tensorflow termcolor threadpoolctl tiktoken tokenizers toml tomli
    tomlkit toolz torch torchaudio torchvision tornado tox tqdm traitlets transformers trio twilio
    twine twisted typer types-requests typing-extensions typing-inspection tzdata tzlocal ujson
    uritemplate urllib3 uv uvicorn uvloop virtualenv waitress watchdog watchfiles wcwidth
    webencodings websocket-client websockets werkzeug wheel wrapt wtforms xgboost xlrd xlsxwriter
    xmltodict yapf yarl zipp zope-interface zstandard
"""
POPULAR = frozenset(_NAMES.split())
