#!/bin/bash
samtools --help
