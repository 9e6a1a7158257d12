using System.CommandLine;
using System.Diagnostics;
using System.Text.Json.Nodes;
using Subquartic.Checkpoints;
using Subquartic.Files;

namespace Subquartic.Cli.Verbs;

/// <summary><c>merge</c>: a model with adapters in its weights, or without them again.</summary>
internal sealed class MergeVerb : Verb
{
    private readonly Option<string> _model = new("--model", "-m")
    {
        Description = "Folder with a VAR and a VQ-VAE checkpoint, or one file of it.",
        HelpName = "path",
        Required = true,
    };

    private readonly Option<AdapterOption.Request[]> _adapters = AdapterOption.Create(required: true);

    private readonly Option<DirectoryInfo> _out = new("--out", "-o")
    {
        Description = "Folder for the new model; created when missing.",
        HelpName = "folder",
        Required = true,
    };

    private readonly Option<bool> _undo = new("--undo") { Description = "Take the adapters out of a model into which they were merged." };

    private readonly Option<string?> _type = WeightType.CreateOption("Type of the weights; rounds to nearest. [default: as they are]");

    public MergeVerb()
        : base(
            "merge", "Adds LoRA adapters to the weights of a model, or takes them out again.",
            "merge --model models/icons --adapter rocket --out icons-and-rocket",
            "merge --model icons-and-rocket --adapter rocket --undo --out icons")
    {
        Add(_model);
        Add(_adapters);
        Add(_out);
        Add(_undo);
        Add(_type);
        AddJson();
    }

    protected override Task<int> RunAsync(ParseResult options, Terminal terminal, CancellationToken cancellation) =>
        Task.Run(() => Run(options, terminal, cancellation), CancellationToken.None);

    private int Run(ParseResult options, Terminal terminal, CancellationToken cancellation)
    {
        string source = options.GetRequiredValue(_model), folder = options.GetRequiredValue(_out).ToString();
        long start = Stopwatch.GetTimestamp();
        using ModelFiles files = AdapterOption.Apply(ModelFiles.Open(source), options.GetValue(_adapters), options.GetValue(_undo));
        string var = Path.Combine(folder, RandomModel.VarFile), vqVae = Path.Combine(folder, RandomModel.VqVaeFile);
        foreach (string path in (string[])[var, vqVae])
        {
            if (Path.GetFullPath(path) == Path.GetFullPath(files.Var.Checkpoint.Path) || Path.GetFullPath(path) == Path.GetFullPath(files.VqVae.Checkpoint.Path))
            {
                throw new UserException($"--out {folder}: the model lies there; name another folder");
            }
        }

        Directory.CreateDirectory(folder);
        FilesDocument written = terminal.During($"Writing {folder}", () =>
        {
            CheckpointConverter.Convert(files.VqVae.Checkpoint, vqVae, cancellation: cancellation);
            CopyDescription(files.VqVae.Checkpoint.Path, vqVae, null);
            CheckpointConverter.Convert(files.Var.Checkpoint, var, WeightType.Parse(options.GetValue(_type)), cancellation: cancellation);
            CopyDescription(files.Var.Checkpoint.Path, var, files);
            return FilesDocument.Of([var, vqVae], Stopwatch.GetElapsedTime(start));
        });
        written.Show(terminal);
        return ExitCode.Success;
    }

    /// <summary>The JSON beside a checkpoint, with the classes that the transformer has now.</summary>
    private static void CopyDescription(string from, string to, ModelFiles? transformer)
    {
        if (ConfigFile.FindBeside(from) is not { } beside)
        {
            return;
        }

        var json = (JsonObject)JsonNode.Parse(File.ReadAllText(beside.Path))!;
        JsonObject section = json["var"] as JsonObject ?? json;
        if (transformer is not null)
        {
            foreach (JsonObject place in (JsonObject[])[json, section])
            {
                place.Remove("class_names");
                if (place.Remove("num_classes"))
                {
                    place["num_classes"] = transformer.VarConfig.Classes;
                }
            }

            if (transformer.ClassNames is { } names)
            {
                json["class_names"] = new JsonArray([.. names.Select(name => (JsonNode)name)]);
            }
        }

        AtomicFile.WriteText(Path.ChangeExtension(to, ".json"), json.ToJsonString() + "\n");
    }
}
