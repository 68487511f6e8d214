"""All settings, read from the environment (and the `.env` of AIOPS_DATA_DIR). docs/settings.md has one row for each variable."""

from __future__ import annotations

import os
from pathlib import Path

import environ
from csp.constants import NONCE, SELF

from aiops.lib import environment, postgres
from aiops.lib.logs import logging_config

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()
DATA_DIR = Path(env.str("AIOPS_DATA_DIR", default=str(BASE_DIR / "var"))).expanduser().absolute()
env.ENVIRON = {
    **environment.load(DATA_DIR),
    **os.environ,
}  # the process wins; the file's secrets reach no child by inheritance

DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = env.str("SECRET_KEY")
AIOPS_SECRET_KEYS: list[str] = env.list("AIOPS_SECRET_KEYS")
PORT = env.int("PORT", default=8000)
SITE_URL = env.str("SITE_URL", default=f"http://127.0.0.1:{PORT}").rstrip("/")
ALLOWED_HOSTS: list[str] = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost", "[::1]"])
CSRF_TRUSTED_ORIGINS = [SITE_URL]
AIOPS_TRUSTED_PROXIES = env.int("AIOPS_TRUSTED_PROXIES", default=0)
AIOPS_LOG_LEVEL = env.str("AIOPS_LOG_LEVEL", default="INFO").upper()
AIOPS_LOG_FORMAT = env.str("AIOPS_LOG_FORMAT", default="console")
AIOPS_METRICS_TOKEN = env.str("AIOPS_METRICS_TOKEN", default="")
AIOPS_WORKER_CONCURRENCY = env.int("AIOPS_WORKER_CONCURRENCY", default=20)
REDIS_URL = env.str("REDIS_URL", default="")
SERVED_BY_HTTPS = SITE_URL.startswith("https://")

INSTALLED_APPS = [
    "accounts",  # ahead of auth: its changepassword writes the audit log
    "aiops.lib.admin_site.ConsoleAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django_htmx",
    "axes",
    "csp",
    "procrastinate.contrib.django",
    "django_structlog",
    "aiops",
    "audit",
    "incidents",
    "infra",
    "assistant",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "aiops.lib.headers.PermissionsPolicyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_structlog.middlewares.RequestMiddleware",
    "accounts.middleware.ActorMiddleware",
    "accounts.middleware.SessionLifetimeMiddleware",
    "accounts.middleware.PasswordChangeMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "axes.middleware.AxesMiddleware",
]

ROOT_URLCONF = "aiops.urls"
ASGI_APPLICATION = "aiops.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "csp.context_processors.nonce",
                "aiops.lib.pages.site",
            ],
        },
    }
]

# Under ASGI every request may run in another thread: Django's own pool keeps the number of connections flat.
database = env.db_url_config(env.str("DATABASE_URL", default="") or postgres.database_url(DATA_DIR))
DATABASES = {
    "default": {
        **database,
        "ENGINE": "django.db.backends.postgresql",
        "CONN_MAX_AGE": 0,
        "CONN_HEALTH_CHECKS": True,  # after a restart of PostgreSQL the pool hands out no dead connection
        "OPTIONS": {
            "connect_timeout": 2,
            "prepare_threshold": 5,  # psycopg's own default; the ORM's statements are never prepared, ingest's always are
            **database.get("OPTIONS", {}),  # what the address asks for, such as ?sslmode=verify-full
            "pool": {"min_size": 2, "max_size": env.int("AIOPS_DB_POOL", default=16), "timeout": 2},
        },
    }
}

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "accounts.backends.RoleBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_URL = "accounts:login"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "accounts:login"

SESSION_COOKIE_AGE = 12 * 3600  # idle; accounts.middleware puts it off, and has the absolute end
SESSION_SAVE_EVERY_REQUEST = False
SESSION_COOKIE_NAME = "aiops_session"
SESSION_COOKIE_SECURE = SERVED_BY_HTTPS
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_NAME = "aiops_csrf"
CSRF_COOKIE_SECURE = SERVED_BY_HTTPS
CSRF_COOKIE_HTTPONLY = True
CSRF_COOKIE_SAMESITE = "Lax"

SECURE_SSL_REDIRECT = SERVED_BY_HTTPS
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]
SECURE_HSTS_SECONDS = 31_536_000 if SERVED_BY_HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SERVED_BY_HTTPS
SECURE_HSTS_PRELOAD = SERVED_BY_HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if AIOPS_TRUSTED_PROXIES else None
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": [SELF, NONCE],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
    }
}

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False
DATETIME_FORMAT = r"Y-m-d H:i:s \U\T\C"

STATIC_URL = "static/"
STATIC_ROOT = DATA_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATICFILES_FINDERS = [
    "django.contrib.staticfiles.finders.FileSystemFinder",
    "django.contrib.staticfiles.finders.AppDirectoriesFinder",
    "aiops.lib.frontend.NodeModulesFinder",
]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "aiops.lib.frontend.StaticStorage"},
}
NODE_MODULES = BASE_DIR / "node_modules"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LOGGING = logging_config(AIOPS_LOG_LEVEL, AIOPS_LOG_FORMAT)
LOGGING_CONFIG = "logging.config.dictConfig"
DJANGO_STRUCTLOG_IP_LOGGING_ENABLED = False  # it believes any X-Forwarded-For; the request's own line has the client

PROCRASTINATE_AUTODISCOVER_MODULE_NAME = "jobs"

AXES_CLIENT_IP_CALLABLE = "accounts.middleware.address_of"
AXES_ENABLE_ADMIN = False
AXES_HANDLER = "accounts.throttle.LoginThrottle"
AXES_LOCKOUT_CALLABLE = "accounts.sessions.locked_out"
AXES_VERBOSE = False
