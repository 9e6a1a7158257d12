using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;
using System.CommandLine.Parsing;
using System.Runtime.InteropServices;
using Subquartic.Checkpoints;
using Subquartic.Cli.Verbs;
using Subquartic.Imaging;

namespace Subquartic.Cli;

/// <summary>The program: its verbs, its help, and what becomes of errors and of Ctrl-C.</summary>
internal static class CommandLine
{
    private const string ProgramName = "subquartic";

    public static async Task<int> RunAsync(string[] args)
    {
        RootCommand root = CreateRoot();
        ParseResult parsed = root.Parse(args.Length == 0 ? ["--help"] : args);
        if (parsed.Errors.Count > 0 && parsed.Action is not HelpWithExamples)
        {
            string verb = FullName(parsed.CommandResult);
            Command command = parsed.CommandResult.Command;
            string message = command is not Verb && parsed.UnmatchedTokens.Count > 0
                ? $"there is no verb '{parsed.UnmatchedTokens[0]}'; there are {string.Join(", ", command.Subcommands.Select(c => c.Name))}"
                : parsed.Errors[0].Message;
            return Fail($"{verb}: {OneLine(message)} (see {verb} --help)", ExitCode.Usage);
        }

        using var interrupted = new CancellationTokenSource();
        // The first signal asks the work to stop; a second one falls through and ends the process.
        void Stop(PosixSignalContext context)
        {
            context.Cancel = !interrupted.IsCancellationRequested;
            interrupted.Cancel();
        }

        using PosixSignalRegistration onInterrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Stop);
        using PosixSignalRegistration onTerminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Stop);
        var invocation = new InvocationConfiguration { EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = null };
        try
        {
            int code = await parsed.InvokeAsync(invocation, interrupted.Token);
            return args.Length == 0 ? ExitCode.Usage : code;
        }
        catch (OperationCanceledException) when (interrupted.IsCancellationRequested)
        {
            return Fail($"{ProgramName}: stopped", ExitCode.Cancelled);
        }
        catch (Exception error) when (Describe(error) is { } line)
        {
            return Fail($"{ProgramName}: {line}", error is UserException { Code: int code } ? code : ExitCode.Failure);
        }
    }

    private static RootCommand CreateRoot()
    {
        var root = new RootCommand("Draws images with visual autoregressive (VAR) models on the CPU.") { HelpName = ProgramName };
        Command[] verbs =
        [
            new GenerateVerb(), new EditVerb(), new ReconstructVerb(), new VerifyVerb(), new InspectVerb(), new ConvertVerb(), new MergeVerb(), new RandomVerb(),
            new AnalyzeVerb(), new EvaluateVerb(), new DatasetVerb(),
            new Command("train", "Trains a model on pictures: vqvae first, then var; lora tunes, the classifier judges what they draw.")
            {
                new TrainVqVaeVerb(), new TrainVarVerb(), new TrainDecoderVerb(), new TrainCriticVerb(), new TrainLoraVerb(), new TrainClassifierVerb(),
            },
            new Command("limits", "Calculates and measures what fast attention can and cannot do; no model is needed.")
            {
                new LimitsCostVerb(), new LimitsScalingVerb(), new LimitsPhaseVerb(), new LimitsHardVerb(), new LimitsErrorsVerb(), new LimitsReductionsVerb(),
                new LimitsChainVerb(), new LimitsCertifiedVerb(), new LimitsCalibrateVerb(), new LimitsTensorVerb(), new LimitsRopeVerb(), new LimitsLoraVerb(),
            },
        ];
        foreach (Command verb in verbs)
        {
            root.Add(verb);
        }

        HelpOption help = root.Options.OfType<HelpOption>().Single();
        help.Action = new HelpWithExamples((HelpAction)help.Action!);
        return root;
    }

    /// <summary>The one line for an error that the user can act upon; null for a mistake in the program, which keeps its stack trace.</summary>
    private static string? Describe(Exception error) => error switch
    {
        UserException or CheckpointException or ImageException or IOException or UnauthorizedAccessException or ArithmeticException
            => OneLine(error.Message),
        OutOfMemoryException => "not enough memory",
        AggregateException { InnerException: { } inner } => Describe(inner),
        _ => null,
    };

    private static string OneLine(string message) => string.Join(' ', message.Split(['\r', '\n', '\t'], StringSplitOptions.RemoveEmptyEntries));

    private static string FullName(CommandResult result) =>
        result.Parent is CommandResult parent ? $"{FullName(parent)} {result.Command.Name}" : ProgramName;

    /// <summary>A verb itself, or the verbs of a group of verbs.</summary>
    private static IEnumerable<Verb> Verbs(Command command) => command is Verb verb ? [verb] : command.Subcommands.SelectMany(Verbs);

    private static int Fail(string line, int code)
    {
        Console.Error.WriteLine(line);
        return code;
    }

    /// <summary>The usual help, followed by the examples of the verb.</summary>
    private sealed class HelpWithExamples(HelpAction help) : SynchronousCommandLineAction
    {
        public override int Invoke(ParseResult parseResult)
        {
            int code = help.Invoke(parseResult);
            TextWriter output = parseResult.InvocationConfiguration.Output;
            output.WriteLine("Examples:");
            Verb[] verbs = [.. Verbs(parseResult.CommandResult.Command)];
            foreach (string example in verbs.SelectMany(v => v.Examples.Take(verbs.Length == 1 ? int.MaxValue : 1)))
            {
                output.WriteLine($"  {ProgramName} {example}");
            }

            output.WriteLine();
            return code;
        }
    }
}
