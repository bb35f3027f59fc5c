module libemr

go 1.24
