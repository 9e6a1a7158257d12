using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using Subquartic.Adapters;
using Subquartic.Checkpoints;

namespace Subquartic.Cli;

/// <summary>Adapters on the command line: FILE or FILE:WEIGHT, several times.</summary>
internal static class AdapterOption
{
    /// <summary>An adapter that was asked for.</summary>
    internal readonly record struct Request(string Path, double Weight);

    /// <summary>The option.</summary>
    public static Option<Request[]> Create(bool required = false) => new("--adapter", "-a")
    {
        Description = "LoRA adapter to draw with: its file or folder, and with ':' how strongly it counts. Several may be given.",
        HelpName = "path[:weight]",
        Required = required,
        CustomParser = Parse,
        DefaultValueFactory = _ => [],
    };

    /// <summary>Lays the adapters over a model.</summary>
    /// <exception cref="CheckpointException">An adapter is damaged or does not fit the model; the model is closed.</exception>
    public static ModelFiles Apply(ModelFiles files, Request[]? requests, bool undo = false)
    {
        if (requests is null or [])
        {
            return files;
        }

        try
        {
            return files.WithAdapters([.. requests.Select(request => new WeightedAdapter(LoraAdapter.Open(request.Path), request.Weight))], undo);
        }
        catch
        {
            files.Dispose();
            throw;
        }
    }

    private static Request[] Parse(ArgumentResult result)
    {
        var requests = new List<Request>();
        foreach (string text in result.Tokens.Select(token => token.Value))
        {
            // What follows the last ':' is a weight if it is a number; a path of Windows has a ':' too.
            int colon = text.LastIndexOf(':');
            requests.Add(colon > 0 && double.TryParse(text.AsSpan(colon + 1), NumberStyles.Float, CultureInfo.InvariantCulture, out double weight) && double.IsFinite(weight)
                ? new Request(text[..colon], weight)
                : new Request(text, 1));
        }

        return [.. requests];
    }
}
