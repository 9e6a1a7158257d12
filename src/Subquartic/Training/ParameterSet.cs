using System.Numerics.Tensors;
using Subquartic.Checkpoints;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Training;

/// <summary>The parameters of a network under their official names, and how they start.</summary>
/// <remarks>Random starts depend on (seed, name) alone: adding a layer does not change the others.</remarks>
public sealed class ParameterSet : IDisposable
{
    private readonly List<Parameter> _parameters = [];
    private readonly ulong _seed;
    private readonly CheckpointView? _from;
    private readonly Func<string, string> _stored;

    /// <summary>Creates an empty set.</summary>
    /// <param name="seed">Seed of the random starts.</param>
    /// <param name="from">A checkpoint whose tensors are taken instead of random ones; all must be there.</param>
    /// <param name="stored">Name in the checkpoint of a parameter, where that is not its own.</param>
    public ParameterSet(ulong seed, CheckpointView? from = null, Func<string, string>? stored = null)
    {
        _seed = seed;
        _from = from;
        _stored = stored ?? (name => name);
    }

    /// <summary>All parameters, in the order they were added.</summary>
    public IReadOnlyList<Parameter> All => _parameters;

    /// <summary>Number of trainable values.</summary>
    public long Count => _parameters.Where(p => p.Trainable).Sum(p => p.Value.Length);

    /// <summary>Adds a parameter that starts at a constant.</summary>
    /// <param name="name">Official name.</param>
    /// <param name="value">Start of every entry.</param>
    /// <param name="decays">Whether weight decay applies.</param>
    /// <param name="shape">Sizes.</param>
    /// <returns>The parameter.</returns>
    /// <exception cref="CheckpointException">The checkpoint lacks it or has another shape.</exception>
    public Parameter Constant(string name, float value, bool decays, params int[] shape) =>
        Add(name, decays, shape, span => span.Fill(value));

    /// <summary>Adds a parameter that starts with normal variates, cut off at two standard deviations.</summary>
    /// <param name="name">Official name.</param>
    /// <param name="deviation">Standard deviation before the cut.</param>
    /// <param name="decays">Whether weight decay applies.</param>
    /// <param name="shape">Sizes.</param>
    /// <returns>The parameter.</returns>
    /// <exception cref="CheckpointException">The checkpoint lacks it or has another shape.</exception>
    public Parameter Normal(string name, double deviation, bool decays, params int[] shape) => Add(name, decays, shape, span =>
    {
        var random = new Random(Seed(name));
        foreach (ref float value in span)
        {
            double normal;
            do
            {
                normal = Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble());
            }
            while (Math.Abs(normal) > 2);
            value = (float)(normal * deviation);
        }
    });

    /// <summary>Adds a parameter that starts uniform in [-bound, bound].</summary>
    /// <param name="name">Official name.</param>
    /// <param name="bound">Largest absolute value.</param>
    /// <param name="decays">Whether weight decay applies.</param>
    /// <param name="shape">Sizes.</param>
    /// <returns>The parameter.</returns>
    /// <exception cref="CheckpointException">The checkpoint lacks it or has another shape.</exception>
    public Parameter Uniform(string name, double bound, bool decays, params int[] shape) => Add(name, decays, shape, span =>
    {
        var random = new Random(Seed(name));
        foreach (ref float value in span)
        {
            value = (float)(bound * (2 * random.NextDouble() - 1));
        }
    });

    /// <summary>Moves a running average of the trainable weights towards them: average = decay * average + (1 - decay) * weight. Frozen ones keep their
    /// bits.</summary>
    /// <param name="average">One buffer per parameter, in order.</param>
    /// <param name="decay">Share of the old average.</param>
    public void Average(IReadOnlyList<FloatBuffer> average, float decay)
    {
        for (int i = 0; i < _parameters.Count; i++)
        {
            if (!_parameters[i].Trainable)
            {
                continue;
            }

            Span<float> target = average[i].Span();
            TensorPrimitives.Multiply(target, decay, target);
            TensorPrimitives.MultiplyAdd(_parameters[i].Value.Span(), 1 - decay, target, target);
        }
    }

    /// <summary>Frees the memory.</summary>
    public void Dispose() => _parameters.ForEach(p => p.Dispose());

    private delegate void Start(Span<float> values);

    private Parameter Add(string name, bool decays, int[] shape, Start start)
    {
        var parameter = new Parameter(name, shape) { Decays = decays };
        if (_from is { } view)
        {
            using FloatBuffer stored = view.Get(_stored(name), shape);
            stored.Span().CopyTo(parameter.Value.Span());
        }
        else
        {
            start(parameter.Value.Span());
        }

        _parameters.Add(parameter);
        return parameter;
    }

    private int Seed(string name)
    {
        // FNV-1a: string.GetHashCode differs from run to run.
        ulong hash = 14695981039346656037 ^ _seed;
        foreach (char c in name)
        {
            hash = (hash ^ c) * 1099511628211;
        }

        return (int)((hash ^ (hash >> 32)) & int.MaxValue);
    }
}
