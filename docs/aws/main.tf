# The master key, the keyring's bucket and a policy for members of one Vigil
# vault. The policies are the JSON files beside this one.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = { source = "hashicorp/aws", version = ">= 5.0" }
  }
}

variable "bucket_name" {
  type        = string
  description = "Name of the bucket to make for the keyring"
}

variable "prefix" {
  type        = string
  default     = "vigil"
  description = "Prefix of the vault's keyring, as in s3://BUCKET/PREFIX"
}

variable "vault_id" {
  type        = string
  default     = "*"
  description = "The vault's id, from vigilctl status --json, once there is one; * before that"
}

variable "keep_versions_days" {
  type        = number
  default     = 30
  description = "For how many days replaced keyrings, and with them the keys of removed items, are kept"
}

data "aws_caller_identity" "this" {}
data "aws_region" "this" {}

resource "aws_kms_key" "master" {
  description             = "Vigil master key"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  policy = templatefile("${path.module}/key-policy.json", {
    AccountId = data.aws_caller_identity.this.account_id
  })

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_kms_alias" "master" {
  name          = "alias/vigil"
  target_key_id = aws_kms_key.master.key_id
}

resource "aws_s3_bucket" "keyring" {
  bucket = var.bucket_name

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_s3_bucket_versioning" "keyring" {
  bucket = aws_s3_bucket.keyring.id
  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "keyring" {
  bucket     = aws_s3_bucket.keyring.id
  depends_on = [aws_s3_bucket_versioning.keyring]

  rule {
    id     = "EndOldKeyrings"
    status = "Enabled"
    filter {
      prefix = ""
    }
    noncurrent_version_expiration {
      noncurrent_days = var.keep_versions_days
    }
  }
}

resource "aws_s3_bucket_public_access_block" "keyring" {
  bucket                  = aws_s3_bucket.keyring.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "keyring" {
  bucket = aws_s3_bucket.keyring.id
  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_policy" "keyring" {
  bucket = aws_s3_bucket.keyring.id
  policy = templatefile("${path.module}/bucket-policy.json", {
    BucketName = aws_s3_bucket.keyring.id
  })
}

resource "aws_iam_policy" "member" {
  name        = "vigil-member"
  description = "For members of one Vigil vault"
  policy = templatefile("${path.module}/member.json", {
    KeyArn     = aws_kms_key.master.arn
    BucketName = aws_s3_bucket.keyring.id
    Prefix     = var.prefix
    VaultId    = var.vault_id
  })
}

output "master" {
  description = "For vigilctl init --master"
  value       = "awskms:///${aws_kms_key.master.arn}"
}

output "backend" {
  description = "For vigilctl init --backend"
  value       = "s3://${aws_s3_bucket.keyring.id}/${var.prefix}?region=${data.aws_region.this.id}"
}

output "member_policy_arn" {
  value = aws_iam_policy.member.arn
}
