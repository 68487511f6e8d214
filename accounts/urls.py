from django.urls import path

from accounts.passwords import change_password
from accounts.profile import profile
from accounts.sessions import log_in, log_out

app_name = "accounts"
urlpatterns = [
    path("login/", log_in, name="login"),
    path("logout/", log_out, name="logout"),
    path("profile/", profile, name="profile"),
    path("profile/password/", change_password, name="password-change"),
]
