from django.urls import path

from infra import views

app_name = "infra"
urlpatterns = [
    path("servers/", views.server_list, name="server-list"),
    path("terminals/", views.terminal_list, name="terminal-list"),
]
