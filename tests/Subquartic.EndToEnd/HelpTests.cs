namespace Subquartic.EndToEnd;

public sealed class HelpTests : IDisposable
{
    private readonly CommandLineProcess _program = new();

    [Fact]
    public void Every_verb_explains_itself_with_an_example()
    {
        string root = _program.Succeed("--help").Output;
        string[] verbs =
        [
            .. root.Split('\n').SkipWhile(line => line != "Commands:").Skip(1).TakeWhile(line => line.Length > 0)
                .Select(line => line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[0]),
        ];
        Assert.Superset(new HashSet<string> { "generate", "edit", "reconstruct", "verify", "inspect", "convert", "random" }, verbs.ToHashSet());
        foreach (string verb in verbs.Where(verb => verb is not ("train" or "limits")).Concat(["train vqvae", "train var", "train lora", "limits cost", "limits scaling", "limits phase", "limits hard", "limits errors", "limits lora", "limits certified", "limits calibrate", "limits tensor", "limits rope"]))
        {
            Assert.Contains($"\n  subquartic {verb}", root, StringComparison.Ordinal);
            string help = _program.Succeed([.. verb.Split(' '), "--help"]).Output;
            string[] examples = [.. help.Split('\n').SkipWhile(line => line != "Examples:").Skip(1).Where(line => line.Length > 0)];
            Assert.NotEmpty(examples);
            Assert.All(examples, example => Assert.StartsWith($"  subquartic {verb}", example, StringComparison.Ordinal));
            Assert.Contains("--json", help, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Without_arguments_it_shows_help_and_reports_a_usage_error()
    {
        CommandResult result = _program.Run();
        Assert.Equal(2, result.ExitCode);
        Assert.Contains("Commands:", result.Output, StringComparison.Ordinal);
    }

    public void Dispose() => _program.Dispose();
}
