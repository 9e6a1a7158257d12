using Subquartic.Adapters;
using Subquartic.Models;
using Subquartic.Training.Operations;

namespace Subquartic.Training;

/// <summary>The trained part of a network whose own weights are frozen: factors A and B of every changed layer, and the rows of new classes. The parameters carry the names of
/// the PEFT library, so that what is saved is an adapter.</summary>
public sealed class VarAdapter : IDisposable
{
    private readonly Dictionary<string, (LoraLayer Layer, Parameter A, Parameter B)> _layers = new(StringComparer.Ordinal);

    /// <summary>Creates an adapter that changes nothing yet: A is uniform in ±1/sqrt(inputs), B is zero (peft 0.13, tuners/lora/layer.py, reset_lora_parameters).</summary>
    /// <param name="options">Layers, rank, new classes.</param>
    /// <param name="config">The model it is for, without the new classes.</param>
    /// <param name="seed">Seed of A.</param>
    /// <exception cref="ArgumentException">The options do not fit the model.</exception>
    public VarAdapter(LoraOptions options, VarConfig config, ulong seed)
    {
        ArgumentNullException.ThrowIfNull(options);
        Options = options;
        Layers = options.Layers(config);
        Parameters = new ParameterSet(seed);
        foreach (LoraLayer layer in Layers)
        {
            Parameter a = Parameters.Uniform(layer.TensorName('A'), 1 / Math.Sqrt(layer.Inputs), decays: false, layer.Rank, layer.Inputs);
            Parameter b = Parameters.Constant(layer.TensorName('B'), 0, decays: false, layer.Outputs, layer.Rank);
            _layers.Add($"{layer.Module}.weight", (layer, a, b));
        }
    }

    /// <summary>Layers, rank, new classes.</summary>
    public LoraOptions Options { get; }

    /// <summary>The layers it changes.</summary>
    public IReadOnlyList<LoraLayer> Layers { get; }

    /// <summary>All that is trained.</summary>
    public ParameterSet Parameters { get; }

    /// <summary>Writes <c>adapter_config.json</c>, so that the PEFT library loads the adapter on the official model.</summary>
    /// <param name="path">The file.</param>
    /// <param name="model">What the adapter is trained on.</param>
    /// <exception cref="IOException">The file cannot be written.</exception>
    public void WriteConfig(string path, string model) => PeftConfig.Write(path, Options, Layers, model);

    /// <summary>Adds the class embedding with rows for the new classes, which start at the mean of the known ones. Only the new rows are trained.</summary>
    /// <param name="known">class_emb.weight of the model (classes + 1, C), the unconditional row last.</param>
    /// <returns>(classes + new + 1, C).</returns>
    internal Parameter ExtendClasses(Parameter known)
    {
        int width = known.Shape[1], classes = known.Shape[0] - 1, added = Options.NewClasses.Count;
        Parameter table = Parameters.Constant($"{LoraAdapter.Prefix}{known.Name}", 0, decays: false, classes + added + 1, width);
        Span<float> values = table.Value.Span();
        ReadOnlySpan<float> source = known.Value.Span();
        source[..(classes * width)].CopyTo(values);
        source[(classes * width)..].CopyTo(values[((classes + added) * width)..]);
        for (int c = 0; c < width; c++)
        {
            double mean = 0;
            for (int i = 0; i < classes; i++)
            {
                mean += source[(i * width) + c];
            }

            for (int i = classes; i < classes + added; i++)
            {
                values[(i * width) + c] = (float)(mean / classes);
            }
        }

        table.Changed();
        return table;
    }

    /// <summary>The linear layer of a weight, with its change where it has one.</summary>
    internal Variable Linear(Tape tape, Variable x, Parameter weight, Parameter? bias) => _layers.TryGetValue(weight.Name, out (LoraLayer Layer, Parameter A, Parameter B) own)
        ? tape.Linear(x, weight, bias, own.Layer, own.A, own.B)
        : tape.Linear(x, weight, bias);

    /// <summary>Frees the memory.</summary>
    public void Dispose() => Parameters.Dispose();
}
