from django.urls import path

from assistant import views

app_name = "assistant"
urlpatterns = [
    path("alerts/<uuid:pk>/analysis/", views.alert_analysis, name="alert-analysis"),
    path("chats/", views.chat_list, name="chat-list"),
]
