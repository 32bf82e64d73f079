"""Websites, names that were pointed here, and frames: none may read or start anything. A real server, real requests."""

import socket

import httpx

from tests.serving import SECONDS, Served, origin


def hostile(served: Served) -> list[dict[str, str]]:
    own = served.url.removeprefix("http://").rstrip("/")
    return [
        {"host": "evil.example"},
        {"host": f"evil.example:{served.port}"},
        {"host": "127.0.0.1.evil.example"},
        {"host": "localhost.evil.example"},
        {"host": ""},
        {"host": "a b"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": f"http://localhost:{served.port + 1}"},
        {"origin": f"https://{own}.evil.example"},
        {"host": f"localhost:{served.port}", "origin": f"http://127.0.0.1:{served.port}"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"},
    ]


def test_websites_and_rebound_names_can_neither_read_nor_start_anything(served: Served, plain: httpx.Client) -> None:
    for headers in hostile(served):
        for method, address in (
            ("GET", ""),
            ("GET", "config"),
            ("GET", "api/v1/styles"),
            ("POST", "api/v1/cartoonize"),
            ("POST", "api/v1/jobs"),
            ("POST", "gradio_api/upload"),
            ("POST", "gradio_api/queue/join"),
            ("DELETE", f"api/v1/jobs/{'0' * 32}"),
            ("OPTIONS", "api/v1/jobs"),
        ):
            answer = plain.request(method, served.url + address, headers=headers)
            assert answer.status_code in (400, 403), (headers, method, address, answer.status_code)
            assert not [name for name in answer.headers if name.startswith("access-control")]
            assert "set-cookie" not in answer.headers


def test_a_post_that_navigates_from_another_site_is_refused(served: Served, plain: httpx.Client) -> None:
    visit = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert plain.get(served.url, headers=visit).status_code == 200  # a link was followed
    assert plain.post(f"{served.url}api/v1/jobs", headers=visit).status_code == 403


def test_probes_are_answered_under_the_name_of_a_service_and_nothing_else_is(
    served: Served, plain: httpx.Client
) -> None:
    service = {"host": f"cartoon.default.svc.cluster.local:{served.port}"}
    for probe, told in (("healthz", "ok"), ("readyz", "ready")):
        assert plain.get(served.url + probe, headers=service).json() == {"status": told}
        for foreign in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
            assert plain.get(served.url + probe, headers={**service, **foreign}).status_code == 403
        assert plain.post(served.url + probe, headers=service).status_code == 403
    for address in ("", "config", "metrics", "openapi.json", "api/v1/styles", "healthz/", "healthz/../config"):
        assert plain.get(served.url + address, headers=service).status_code == 403


def test_two_hosts_in_one_request_are_one_too_many(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=SECONDS) as plain:
        plain.sendall(b"GET /config HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n")
        assert plain.recv(100).split()[1] in (b"400", b"403")


def test_the_page_cannot_be_framed_and_names_no_origin(served: Served, plain: httpx.Client) -> None:
    answer = plain.get(served.url, headers=origin(served))
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-frame-options"] == "DENY"
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_its_own_names_are_welcome(served: Served, plain: httpx.Client) -> None:
    for host in (
        f"localhost:{served.port}",
        f"127.0.0.1:{served.port}",
        f"[::1]:{served.port}",
        "192.168.1.5",
        "0.0.0.0",
    ):
        headers = {"host": host, "origin": f"http://{host}", "sec-fetch-site": "same-origin"}
        assert plain.get(served.url, headers=headers).status_code == 200
        assert plain.post(f"{served.url}api/v1/cartoonize", headers=headers).status_code == 400  # heard, without a form


def test_a_name_that_was_allowed_is_answered_and_may_send(elsewhere: Served, plain: httpx.Client) -> None:
    for host, from_, status in (
        ("cartoon.example", "https://cartoon.example", 200),
        ("CARTOON.example.", "https://cartoon.example", 200),
        ("127.0.0.1:7860", "https://cartoon.example", 200),  # a proxy that names what it forwards to
        ("shop.example:8443", "https://shop.example:8443", 200),
        ("shop.example:8444", "https://shop.example:8444", 403),
        ("cartoon.example", "https://cartoon.example:9000", 403),
        ("evil.example", "https://cartoon.example", 403),
    ):
        answer = plain.get(f"{elsewhere.url}config", headers={"host": host, "origin": from_})
        assert answer.status_code == status, (host, from_)


def test_in_a_space_its_own_host_and_frame_are_allowed(elsewhere: Served, plain: httpx.Client) -> None:
    proxied = {"host": "ann-cartoon.hf.space", "x-forwarded-proto": "https"}
    framed = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}
    answer = plain.get(elsewhere.url, headers={**proxied, **framed})
    assert answer.status_code == 200
    assert "frame-ancestors https://huggingface.co" in answer.headers["content-security-policy"]
    assert "x-frame-options" not in answer.headers
    assert "SameSite=None; Secure; Partitioned" in answer.headers["set-cookie"]
    assert plain.get(elsewhere.url, headers={"host": "evil.hf.space"}).status_code == 403
