--
-- PostgreSQL database dump
--

\restrict QbTsFDY3fMNrTPCu2TvqP1JfE8c5BDIV5RsUo4fe2PDkaq9Ug74XKstLJjDgSan

-- Dumped from database version 18.4
-- Dumped by pg_dump version 18.4

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET transaction_timeout = 0;
SET client_encoding = 'GB18030';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: org; Type: TABLE; Schema: public; Owner: guiji
--

CREATE TABLE public.org (
    code text NOT NULL,
    name text,
    amount numeric(30,2)
);


ALTER TABLE public.org OWNER TO guiji;

--
-- Name: other; Type: TABLE; Schema: public; Owner: guiji
--

CREATE TABLE public.other (
    a integer
);


ALTER TABLE public.other OWNER TO guiji;

--
-- Data for Name: org; Type: TABLE DATA; Schema: public; Owner: guiji
--

INSERT INTO public.org VALUES ('000123', '鄂尔多斯市东胜区', 1.50);
INSERT INTO public.org VALUES ('0592', '运煲 ''A'' \N "b"', -0.05);
INSERT INTO public.org VALUES ('7', 'R&D <x>; --', NULL);
INSERT INTO public.org VALUES ('NULL', '', 12345678901234567890.00);


--
-- Data for Name: other; Type: TABLE DATA; Schema: public; Owner: guiji
--

INSERT INTO public.other VALUES (1);


--
-- Name: org org_pkey; Type: CONSTRAINT; Schema: public; Owner: guiji
--

ALTER TABLE ONLY public.org
    ADD CONSTRAINT org_pkey PRIMARY KEY (code);


--
-- Name: SCHEMA public; Type: ACL; Schema: -; Owner: pg_database_owner
--

GRANT USAGE ON SCHEMA public TO fep_reader;


--
-- PostgreSQL database dump complete
--

\unrestrict QbTsFDY3fMNrTPCu2TvqP1JfE8c5BDIV5RsUo4fe2PDkaq9Ug74XKstLJjDgSan

