from django.urls import path

from incidents import views

app_name = "incidents"
urlpatterns = [
    path("", views.dashboard, name="dashboard"),
    path("alerts/", views.alert_list, name="alert-list"),
    path("alerts/<uuid:pk>/", views.alert_detail, name="alert-detail"),
    path("alerts/<uuid:pk>/timeline/", views.alert_timeline, name="alert-timeline"),
    path("alerts/<uuid:pk>/acknowledge/", views.alert_acknowledge, name="alert-acknowledge"),
    path("alerts/<uuid:pk>/unacknowledge/", views.alert_unacknowledge, name="alert-unacknowledge"),
    path("alerts/<uuid:pk>/assign/", views.alert_assign, name="alert-assign"),
    path("alerts/<uuid:pk>/snooze/", views.alert_snooze, name="alert-snooze"),
    path("alerts/<uuid:pk>/unsnooze/", views.alert_unsnooze, name="alert-unsnooze"),
    path("alerts/<uuid:pk>/note/", views.alert_note, name="alert-note"),
    path("alerts/<uuid:pk>/analyze/", views.alert_analyze, name="alert-analyze"),
]
